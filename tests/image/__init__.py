"""The container images, built by a real engine and tried from outside: `make test-image`.

Not collected by pytest: it takes minutes, needs a Docker engine, and what it prints is meant to be read.
"""
