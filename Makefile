# Everything runs in a virtual environment made here; nothing but python3 and make is
# needed. `make demo` first, then `make test`.
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
# The PyTorch build that cross-checks and peer benchmarks install.
TORCH  ?= torch==2.13.0
OUT    ?= runs/demo

.PHONY: demo test test-core test-deep lint type bench gradcheck peers nvrtc cuda-check gpu compare clean

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable . --group dev
	touch $@

$(VENV)/.peers: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet "$(TORCH)" --editable ".[peers]"
	touch $@

$(VENV)/.nvrtc: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --group cuda-check
	touch $@

$(VENV)/.features: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --editable ".[features]"
	touch $@

demo: $(VENV)/.ready   ## train on the shipped images, look at what it learned
	$(BIN)/tinyvq demo --out $(OUT)

gradcheck: $(VENV)/.ready   ## prove every gradient
	$(BIN)/tinyvq gradcheck

test: $(VENV)/.ready   ## under 10 minutes on two cores
	TINYVQ_REQUIRE_LIBRARIES=1 $(BIN)/python -m pytest

test-core: $(VENV)/.ready   ## as if NumPy, Numba, pytest and Hypothesis were all
	PYTHONPATH=tests $(BIN)/python -m pytest -p core_alone

test-deep: $(VENV)/.ready   ## the long ones too
	TINYVQ_REQUIRE_LIBRARIES=1 HYPOTHESIS_PROFILE=deep $(BIN)/python -m pytest \
	  -m "deep or not deep"

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: $(VENV)/.ready
	$(BIN)/mypy

peers: $(VENV)/.peers   ## PyTorch and the others that tinyvq is held against

nvrtc: $(VENV)/.nvrtc   ## what compiles the CUDA kernels, without a GPU

cuda-check: $(VENV)/.nvrtc   ## compile, emulate and watch every CUDA kernel
	TINYVQ_REQUIRE_LIBRARIES=1 TINYVQ_REQUIRE_NVRTC=1 TINYVQ_REQUIRE_EMULATOR=1 \
	  $(BIN)/python -m pytest tests/kernels tests/device \
	  -k "cuda or emulat or device"

bench: $(VENV)/.peers
	$(BIN)/tinyvq bench

# On a machine with a GPU: its own python3, with CuPy and PyTorch, and no network.
gpu:   ## check every kernel on this GPU, then measure
	PYTHONPATH=.:kernels $(PYTHON) -m benchmarks.gpu

compare: $(VENV)/.features   ## hours, in pieces: what is done is not done again
	$(BIN)/python -m benchmarks.compare || [ $$? = 1 ]  # 1: some images are not here
	$(BIN)/python -m benchmarks.compare.weights || [ $$? = 1 ]
	$(BIN)/python -m benchmarks.compare.augmentation
	$(BIN)/python -m benchmarks.compare.page

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
