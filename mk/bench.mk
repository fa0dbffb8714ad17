# make bench: the README's figures. BENCH= takes what benches/run takes: make bench BENCH='start --runs 10'

BENCH_PROGRAMS := $(patsubst benches/%.c,$B/bench-%,$(wildcard benches/*.c))

$(BENCH_PROGRAMS): $B/bench-%: $B/benches/%.o
	@$(if $(V),,echo '  LINK    $@')
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $^ $(LIBS) -o $@.tmp && mv $@.tmp $@

# They measure the device itself, not a program.
$B/bench-blk_ring $B/bench-blk_loops $B/bench-save $B/bench-rpc $B/bench-allocs $B/bench-api_queue: $B/libmayfly.a
$B/bench-allocs: ALL_LDFLAGS += -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc

.PHONY: bench bench-programs
bench-programs: $(BENCH_PROGRAMS)
bench: packages
	$(Q)$(MAKE) --no-print-directory all bench-programs guests
	$(Q)benches/run --build $B $(BENCH)
