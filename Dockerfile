# A CPU image that serves an exported model, without torch. In the folder of the project:
#   resnets export runs/latest model.onnx
#   docker build -t resnets-serve .
#   docker run --rm -p 127.0.0.1:8000:8000 -v "$PWD/model.onnx:/model.onnx:ro" resnets-serve
FROM python:3.12-slim
WORKDIR /app
COPY pyproject.toml README.md LICENSE ./
COPY src src
COPY docker/serve.txt docker/serve.txt
RUN python -m pip install --no-cache-dir --requirement docker/serve.txt
RUN python -m pip install --no-cache-dir --no-deps .
USER nobody
EXPOSE 8000
HEALTHCHECK CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/ready')"]
CMD ["resnets", "serve", "/model.onnx", "--host", "0.0.0.0", "--no-auth"]
