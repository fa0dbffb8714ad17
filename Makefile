# mayfly: `make demo` shows it, `make test` proves it, `make help` lists the rest.

MODE ?= release
CC := $(if $(filter default,$(origin CC)),gcc,$(CC))
PREFIX ?= /usr/local
T ?= 20

# A directory of objects for each compiler and mode; a compiler of several words has one too.
B := build/$(subst $(eval) ,_,$(notdir $(CC)))-$(MODE)
Q := $(if $(V),,@)

include mk/flags.mk
include mk/build.mk
include mk/test.mk
include mk/setup.mk
include mk/install.mk
include mk/lint.mk
include mk/bench.mk

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.PHONY: all
all: $(PROGRAMS)
	@: # nothing to do is nothing to say
