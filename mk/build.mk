# Objects, one library of everything but the programs' main files, and the programs.

LIB_DIRS := base snapshot virtio vmm vmm/boot vmm/legacy
MAIN_SRCS := $(wildcard $(addprefix cmd/,mayfly.c mayfly-jailer.c mayctl.c mayflyd.c))
# What a main shares with tests is in the library too: an archive gives each program only what it calls.
LIB_SRCS := $(wildcard $(addsuffix /*.c,$(LIB_DIRS))) $(filter-out $(MAIN_SRCS),$(wildcard cmd/*.c))
LIB_OBJS := $(LIB_SRCS:%.c=$B/%.o)
MAYFLY_OBJS := $B/cmd/mayfly.o
PROGRAMS := $B/mayfly

# A change of compiler or flags rebuilds everything that was made with the old ones.
stamp := $B/flags.stamp
flags_now := $(LIB_OBJS) $(CC) $(ALL_CFLAGS) $(CPPFLAGS) $(ALL_LDFLAGS) $(LIBS)
$(shell mkdir -p $B; echo '$(flags_now)' | cmp -s - $(stamp) || echo '$(flags_now)' > $(stamp))

$B/%.o: %.c $(stamp)
	$(Q)mkdir -p $(@D)
	@$(if $(V),,echo '  CC      $<')
	$(Q)$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -c $< -o $@.tmp -MF $(@:.o=.d) -MT $@
	$(Q)mv $@.tmp $@

$B/libmayfly.a: $(LIB_OBJS)
	@$(if $(V),,echo '  AR      $@')
	$(Q)rm -f $@.tmp && $(AR) rcs $@.tmp $^ && mv $@.tmp $@

$B/mayfly: $(MAYFLY_OBJS) $B/libmayfly.a
	@$(if $(V),,echo '  LINK    $@')
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $^ $(LIBS) -o $@.tmp && mv $@.tmp $@

-include $(shell find $B -name '*.d' 2>/dev/null)
