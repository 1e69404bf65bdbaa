"""The generator `llamacpp`: GGUF models by llama.cpp, in the same process."""
