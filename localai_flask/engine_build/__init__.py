"""Builds llama-cpp-python for this machine; needs nothing but Python, so that it can run before anything is installed.

python3 -m localai_flask.engine_build flags [WORD…]      print the CMAKE_ARGS for pip
python3 -m localai_flask.engine_build install [WORD…]    build and install for the Python that runs this
python3 -m localai_flask.engine_build program [WORD…]    build the program llama-server, of a fork too (--source)

targets     what the words mean, and CMake's flags for them
nvidia      NVIDIA's cards and compiler
compilers   the machine's compilers, and whether they can be trusted with AMX
wheel       building it once for each set of flags, compilers and processor, and installing it
program     llama.cpp's own server, whole or against the engine that is installed
progress    how far a build is
"""
