// ReLU(BN(x) + carried) and its gradients over rows of channels, (rows, channels), in one pass over memory for the
// statistics and one for the values (arXiv:1502.03167 algorithm 1 and section 3).
//
// The sums of a block of rows are exact to float32 and are added up in double, block after block: the result does not
// depend on the number of threads. A row is worked on 16 channels at a time, which is one vector register or several.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

constexpr int LANES = 16;
constexpr long BLOCK = 8192;  // numbers of a block: they stay in the first cache

using Floats = float __attribute__((vector_size(4 * LANES)));
using Words = uint32_t __attribute__((vector_size(4 * LANES)));
using Halves = uint16_t __attribute__((vector_size(2 * LANES)));
struct Bfloat16 { uint16_t bits; };

Floats widened(Halves halves) {
    Words words;
    for (int i = 0; i < LANES; i++) words[i] = uint32_t(halves[i]) << 16;
    Floats floats;
    std::memcpy(&floats, &words, sizeof floats);
    return floats;
}

Halves rounded(Floats floats) {  // to the nearest, ties to even
    Words words;
    std::memcpy(&words, &floats, sizeof words);
    words = (words + 0x7fff + ((words >> 16) & 1)) >> 16;
    Halves halves;
    for (int i = 0; i < LANES; i++) halves[i] = uint16_t(words[i]);
    return halves;
}

// COUNT numbers, 16 or the rest of a row.
inline Floats load(const float *from, int count) {
    Floats floats{};
    std::memcpy(&floats, from, count == LANES ? sizeof floats : count * sizeof *from);
    return floats;
}

inline Floats load(const Bfloat16 *from, int count) {
    Halves halves{};
    std::memcpy(&halves, from, count == LANES ? sizeof halves : count * sizeof *from);
    return widened(halves);
}

inline void store(float *to, Floats floats, int count) {
    std::memcpy(to, &floats, count == LANES ? sizeof floats : count * sizeof *to);
}

inline void store(Bfloat16 *to, Floats floats, int count) {
    Halves halves = rounded(floats);
    std::memcpy(to, &halves, count == LANES ? sizeof halves : count * sizeof *to);
}

// ACT(first, last, channel, count) for every block of rows and every group of channels in it.
template <class Act> void everywhere(long rows, int channels, int threads, Act act) {
    long height = std::max(1L, BLOCK / channels), blocks = (rows + height - 1) / height;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long block = 0; block < blocks; block++) {
        long first = block * height, last = std::min(rows, first + height);
        int channel = 0;
        for (; channel + LANES <= channels; channel += LANES) act(first, last, channel, LANES);
        if (channel < channels) act(first, last, channel, channels - channel);
    }
}

// Two sums of every block and channel, and how many rows a block has.
struct Sums {
    long height, blocks;
    int channels;
    std::vector<float> first, second;

    Sums(long rows, int channels)
        : height(std::max(1L, BLOCK / channels)), blocks((rows + height - 1) / height), channels(channels),
          first(blocks * channels), second(blocks * channels) {}

    void keep(long row, int channel, int count, Floats one, Floats other) {
        long place = row / height * channels + channel;
        store(&first[place], one, count);
        store(&second[place], other, count);
    }
};

// Mean, biased variance and 1 / deviation of every channel.
template <class Number>
void statistics(const Number *x, double eps, long rows, int channels, int threads, float *mean, float *variance,
                float *deviation) {
    Sums sums(rows, channels);  // of each block: the mean, and the squared distances from it
    everywhere(rows, channels, threads, [&](long first, long last, int channel, int count) {
        Floats total{}, squares{};
        for (long row = first; row < last; row++) total += load(x + row * channels + channel, count);
        Floats middle = total / float(last - first);
        for (long row = first; row < last; row++) {
            Floats distance = load(x + row * channels + channel, count) - middle;
            squares += distance * distance;
        }
        sums.keep(first, channel, count, middle, squares);
    });
    for (int channel = 0; channel < channels; channel++) {
        double center = 0, squares = 0;
        long seen = 0;
        for (long block = 0; block < sums.blocks; block++) {  // Chan, Golub and LeVeque 1979
            long more = std::min(rows - block * sums.height, sums.height);
            double apart = sums.first[block * channels + channel] - center;
            squares += sums.second[block * channels + channel] + apart * apart * seen * more / (seen + more);
            center += apart * more / (seen + more);
            seen += more;
        }
        mean[channel] = center;
        variance[channel] = squares / rows;
        deviation[channel] = 1 / std::sqrt(squares / rows + eps);
    }
}

template <class Number>
void values(const Number *x, const Number *carried, const float *weight, const float *bias, const float *mean,
            const float *deviation, long rows, int channels, int threads, Number *y) {
    everywhere(rows, channels, threads, [&](long first, long last, int channel, int count) {
        Floats center = load(mean + channel, count), summand = load(bias + channel, count);
        Floats factor = load(weight + channel, count) * load(deviation + channel, count);
        for (long row = first; row < last; row++) {
            long place = row * channels + channel;
            Floats value = (load(x + place, count) - center) * factor + summand;
            if (carried) value += load(carried + place, count);
            store(y + place, value < 0 ? Floats{} : value, count);  // NaN stays NaN
        }
    });
}

// PASSED, (rows, channels), is what comes through the ReLU; it may lie where DX will.
template <class Number>
void gradients(const Number *dy, const Number *x, const Number *y, const float *weight, const float *mean,
               const float *deviation, long rows, int channels, int threads, Number *dx, Number *passed,
               float *dweight, float *dbias) {
    Sums sums(rows, channels);
    everywhere(rows, channels, threads, [&](long first, long last, int channel, int count) {
        Floats center = load(mean + channel, count), factor = load(deviation + channel, count);
        Floats total{}, products{};
        for (long row = first; row < last; row++) {
            long place = row * channels + channel;
            Floats through = load(y + place, count) > 0 ? load(dy + place, count) : Floats{};
            store(passed + place, through, count);
            total += through;
            products += through * ((load(x + place, count) - center) * factor);
        }
        sums.keep(first, channel, count, total, products);
    });
    std::vector<float> level(channels), slope(channels);
    for (int channel = 0; channel < channels; channel++) {
        double total = 0, products = 0;
        for (long block = 0; block < sums.blocks; block++) {
            total += sums.first[block * channels + channel];
            products += sums.second[block * channels + channel];
        }
        dbias[channel] = total;
        dweight[channel] = products;
        level[channel] = total / rows;
        slope[channel] = products / rows * deviation[channel];
    }
    everywhere(rows, channels, threads, [&](long first, long last, int channel, int count) {
        Floats center = load(mean + channel, count);
        Floats factor = load(weight + channel, count) * load(deviation + channel, count);
        Floats constant = load(&level[channel], count), steepness = load(&slope[channel], count);
        for (long row = first; row < last; row++) {
            long place = row * channels + channel;
            Floats along = constant + (load(x + place, count) - center) * steepness;
            store(dx + place, (load(passed + place, count) - along) * factor, count);
        }
    });
}

}  // namespace

#define KERNELS(NAME, NUMBER)                                                                                        \
    extern "C" void statistics_##NAME(const NUMBER *x, double eps, long rows, int channels, int threads, float *mean, \
                                      float *variance, float *deviation) {                                           \
        statistics(x, eps, rows, channels, threads, mean, variance, deviation);                                      \
    }                                                                                                                \
    extern "C" void values_##NAME(const NUMBER *x, const NUMBER *carried, const float *weight, const float *bias,    \
                                  const float *mean, const float *deviation, long rows, int channels, int threads,   \
                                  NUMBER *y) {                                                                       \
        values(x, carried, weight, bias, mean, deviation, rows, channels, threads, y);                               \
    }                                                                                                                \
    extern "C" void gradients_##NAME(const NUMBER *dy, const NUMBER *x, const NUMBER *y, const float *weight,        \
                                     const float *mean, const float *deviation, long rows, int channels,             \
                                     int threads, NUMBER *dx, NUMBER *passed, float *dweight, float *dbias) {        \
        gradients(dy, x, y, weight, mean, deviation, rows, channels, threads, dx, passed, dweight, dbias);           \
    }

KERNELS(float32, float)
KERNELS(bfloat16, Bfloat16)
