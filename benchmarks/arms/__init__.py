"""What is timed: a function makes an arm ready, the function it answers is one call, which answers figures."""
