# What a fresh machine needs: Debian packages, then guest kernels and images. Both steps look first
# and do nothing the second time.

.PHONY: setup packages guests
setup: packages guests

packages:
	$(Q).ci/install-packages

guests: packages
	$(Q)tests/guest/all

# The demo and the tests need the packages before make looks for a compiler, hence a make of its own.
.PHONY: demo test
demo: packages
	$(Q)$(MAKE) --no-print-directory all guests
	$(Q)MAYFLY=$B/mayfly tests/demo

test: packages
	$(Q)$(MAKE) --no-print-directory all $B/unit-tests $B/live $B/prisoner $B/compromised $(STAND_INS) $B/witness $B/uffd-handler $(COMPAT_TOOLS) guests
	$(Q)tests/run $B

# Written anew when the method table has changed; a unit test compares.
.PHONY: docs/protocol.md
docs/protocol.md: $B/mayctl
	$(Q)$B/mayctl protocol >$@.tmp && mv $@.tmp $@

.PHONY: clean
clean:
	$(Q)rm -rf build/gcc-* build/clang-*

define HELP
  make demo            set everything up, boot a Debian guest and run a command in it
  make test            set everything up, run every test
  make check           unit tests only, in seconds
  make                 build the programs      (V=1 shows the commands; MODE=release|debug|asan|tsan; CC=)
  make install         DESTDIR= PREFIX=
  make lint            format, static analysis, sizes, who may include whom
  make fuzz T=seconds  each fuzzer for so long (make fuzz-coverage: what the corpora reach)
  make bench           the README's figures
  make setup           the packages and guest artefacts alone
  make clean           remove what was compiled; guest artefacts stay
endef
export HELP
.PHONY: help
help:
	@echo "$$HELP"
