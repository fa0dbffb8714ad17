# Unit tests: one Criterion program of every tests/unit/*.c.

UNIT_SRCS := $(wildcard tests/unit/*.c)
UNIT_OBJS := $(UNIT_SRCS:%.c=$B/%.o)

# Criterion is a shared library: the test program is dynamic whatever the mode. Wrapped: what a test answers in the
# kernel's stead.
UNIT_WRAPS := -Wl,--wrap=io_uring_get_probe_ring -Wl,--wrap=sysinfo -Wl,--wrap=ioctl -Wl,--wrap=sched_yield
$B/unit-tests: $(UNIT_OBJS) $B/libmayfly.a
	@$(if $(V),,echo '  LINK    $@')
	$(Q)$(CC) $(ALL_CFLAGS) $(filter-out -static-pie,$(ALL_LDFLAGS)) -pie $(UNIT_WRAPS) $^ \
		-lcriterion $(LIBS) -o $@.tmp && mv $@.tmp $@

.PHONY: check
check: packages
	$(Q)$(MAKE) --no-print-directory $B/unit-tests
	$(Q)tests/unit/run $B/unit-tests

# A microVM whose devices are changed while it runs, for end-to-end tests.
LIVE_SRCS := $(wildcard tests/live/*.c)
LIVE_OBJS := $(LIVE_SRCS:%.c=$B/%.o)

$B/live: $(LIVE_OBJS) $B/libmayfly.a
	@$(if $(V),,echo '  LINK    $@')
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $^ $(LIBS) -o $@.tmp && mv $@.tmp $@

# Clients and parsers that others have written, for tests/compat. Where they cannot be had that is said, and their tests
# are skipped; the next `make test` tries again.
COMPAT_TOOLS := build/go-sdk-tests build/promtool

build/go-sdk-tests: $(wildcard tests/compat/go-sdk/*)
	@$(if $(V),,echo '  GO      $@')
	$(Q)tests/compat/go-sdk/build
build/promtool:
	@$(if $(V),,echo '  GET     $@')
	$(Q)tests/compat/promtool

# Fuzzers: tests/fuzz/fuzz_NAME.c each, with its corpus in tests/fuzz/corpus/NAME/.
FUZZ_SRCS := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_PROGRAMS := $(FUZZ_SRCS:tests/fuzz/%.c=$B/%)

$B/fuzz_%: $B/tests/fuzz/fuzz_%.o $B/libmayfly.a
	@$(if $(V),,echo '  LINK    $@')
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $^ $(LIBS) -o $@.tmp && mv $@.tmp $@

# Objects of fuzzers are kept for the next time.
.SECONDARY:

.PHONY: fuzz fuzz-run fuzz-coverage fuzz-coverage-run
fuzz: packages
	$(Q)$(MAKE) --no-print-directory MODE=fuzz CC=clang fuzz-run
fuzz-run: $(FUZZ_PROGRAMS)
	$(Q)tests/fuzz/run "$(T)" $(FUZZ_PROGRAMS)

# What the corpora reach by themselves, line by line.
cover := -fprofile-instr-generate -fcoverage-mapping
fuzz-coverage: packages
	$(Q)$(MAKE) --no-print-directory MODE=fuzz CC=clang B=build/clang-cover CFLAGS='$(cover)' LDFLAGS='$(cover)' \
		fuzz-coverage-run
fuzz-coverage-run: $(FUZZ_PROGRAMS)
	$(Q)tests/fuzz/coverage $(FUZZ_PROGRAMS)

# The example of a page-fault handler for snapshots. It knows nothing of ours.
$B/uffd-handler: tests/uffd/handler.c
	@$(if $(V),,echo '  LINK    $@')
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $^ -ljansson -o $@.tmp && mv $@.tmp $@

# The attacker of the end-to-end tests of the jail, static as what is jailed must be.
$B/prisoner: $B/tests/jail/prisoner.o $B/tests/jail/attempts.o $B/libmayfly.a
	@$(if $(V),,echo '  LINK    $@')
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $^ $(LIBS) -o $@.tmp && mv $@.tmp $@

# The monitor with a hole, through which those tests come in.
HOLES := -Wl,--wrap=crash_setup,--wrap=event_loop_start
$B/compromised: $B/cmd/mayfly.o $B/tests/jail/compromised.o $B/tests/jail/attempts.o $B/libmayfly.a
	@$(if $(V),,echo '  LINK    $@')
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $(HOLES) $^ $(LIBS) -o $@.tmp && mv $@.tmp $@

# Stands where end-to-end tests expect the monitor, and becomes it in a jail. mayctl looks for the monitor beside itself.
STAND_INS := $B/jailed/mayfly $B/jailed/mayctl
$B/jailed/mayfly: $B/tests/jail/jailed.o
	@$(if $(V),,echo '  LINK    $@')
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $^ -o $@.tmp && mv $@.tmp $@
$B/jailed/mayctl: $B/mayctl
	$(Q)mkdir -p $(@D)
	$(Q)ln -f $< $@

# Which rules of the seccomp policy the end-to-end tests use.
$B/tests/jail/%.o: CPPFLAGS += -isystem build/gen
$B/tests/jail/witness.o: build/gen/tests/jail/witness.skel.h
build/gen/tests/jail/witness.bpf.o: tests/jail/witness.h
$B/witness: $B/tests/jail/witness.o $B/libmayfly.a
	@$(if $(V),,echo '  LINK    $@')
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $^ $(LIBS) -o $@.tmp && mv $@.tmp $@
