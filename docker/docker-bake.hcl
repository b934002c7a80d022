# All images at once: docker buildx bake -f docker/docker-bake.hcl      (from the root of a checkout)
# One of them with a bundle: edgekit docker build. Here the runtimes alone are built; mount a bundle over /bundle.

variable "REGISTRY" { default = "edgekit" }
variable "BASE" { default = "python:3.11-slim-bookworm" }
variable "VERSION" { default = "dev" }

group "default" { targets = ["onnxruntime", "openvino", "litert"] }
group "all" { targets = ["onnxruntime", "openvino", "litert", "jetson", "dev"] }

# Empty folders stand for the bundle and for packages that were installed beforehand.
target "_cpu" {
  platforms = ["linux/amd64", "linux/arm64"]
  args = { BASE = BASE }
  labels = { "org.opencontainers.image.version" = VERSION }
}

target "onnxruntime" {
  inherits = ["_cpu"]
  context = "docker/onnxruntime"
  tags = ["${REGISTRY}/onnxruntime:${VERSION}"]
}

target "openvino" {
  inherits = ["_cpu"]
  context = "docker/openvino"
  tags = ["${REGISTRY}/openvino:${VERSION}"]
}

target "litert" {
  inherits = ["_cpu"]
  context = "docker/litert"
  tags = ["${REGISTRY}/litert:${VERSION}"]
}

target "jetson" {
  name = "jetson-${replace(l4t.tag, ".", "-")}"
  matrix = {
    l4t = [
      { tag = "r32.7", base = "nvcr.io/nvidia/l4t-base:r32.7.1" },
      { tag = "r35.4", base = "nvcr.io/nvidia/l4t-jetpack:r35.4.1" },
      { tag = "r36.4", base = "nvcr.io/nvidia/l4t-jetpack:r36.4.0" },
    ]
  }
  context = "docker/jetson"
  platforms = ["linux/arm64"]
  args = { BASE = l4t.base }
  labels = { "org.opencontainers.image.version" = VERSION }
  tags = ["${REGISTRY}/jetson:${l4t.tag}"]
}

target "dev" {
  context = "."
  dockerfile = "docker/dev/Dockerfile"
  args = { BASE = BASE }
  labels = { "org.opencontainers.image.version" = VERSION }
  tags = ["${REGISTRY}/dev:${VERSION}"]
}
