# Objects, one library of everything but the programs' main files, and the programs.

LIB_DIRS := base snapshot virtio vmm vmm/boot vmm/legacy vmm/mmds jailer api-socket
MAIN_SRCS := $(wildcard $(addprefix cmd/,mayfly.c mayfly-jailer.c mayctl.c mayflyd.c))
# What a main shares with tests is in the library too: an archive gives each program only what it calls.
LIB_SRCS := $(wildcard $(addsuffix /*.c,$(LIB_DIRS))) $(filter-out $(MAIN_SRCS),$(wildcard cmd/*.c))
LIB_OBJS := $(LIB_SRCS:%.c=$B/%.o)
PROGRAMS := $(MAIN_SRCS:cmd/%.c=$B/%)

# A change of compiler or flags rebuilds everything that was made with the old ones.
stamp := $B/flags.stamp
flags_now := $(LIB_OBJS) $(CC) $(ALL_CFLAGS) $(CPPFLAGS) $(ALL_LDFLAGS) $(LIBS)
$(shell mkdir -p $B; echo '$(flags_now)' | cmp -s - $(stamp) || echo '$(flags_now)' > $(stamp))

$B/%.o: %.c $(stamp)
	$(Q)mkdir -p $(@D)
	@$(if $(V),,echo '  CC      $<')
	$(Q)$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -c $< -o $@.tmp -MF $(@:.o=.d).tmp -MT $@
	$(Q)mv $(@:.o=.d).tmp $(@:.o=.d) && mv $@.tmp $@

# BPF programs: clang makes the object, bpftool a header with it and what loads it. The same for every MODE.
BPF_SRCS := $(wildcard jailer/bpf/*.bpf.c)
BPF_SKELETONS := $(BPF_SRCS:%.bpf.c=build/gen/%.skel.h)
.PRECIOUS: build/gen/%.bpf.o
build/gen/%.bpf.o: %.bpf.c $(wildcard jailer/bpf/*.h)
	$(Q)mkdir -p $(@D)
	@$(if $(V),,echo '  BPF     $<')
	$(Q)clang -target bpf -g -O2 -Wall -Werror -I. -I/usr/include/$(shell gcc -print-multiarch) -c $< -o $@.tmp
	$(Q)llvm-strip -g $@.tmp && mv $@.tmp $@
build/gen/%.skel.h: build/gen/%.bpf.o
	$(Q)/usr/sbin/bpftool gen skeleton $< name $(notdir $*)_bpf >$@.tmp && mv $@.tmp $@
# Every jail loads this one: a light skeleton asks the kernel for the program, not first for what it can do.
build/gen/jailer/bpf/devices.skel.h: build/gen/jailer/bpf/devices.bpf.o
	$(Q)/usr/sbin/bpftool gen skeleton -L $< name devices_bpf >$@.tmp && mv $@.tmp $@
$B/jailer/%.o: CPPFLAGS += -isystem build/gen

# The seccomp policy, compiled by a program that is built for this machine whatever the MODE.
POLICY_SRCS := jailer/gen/policy_to_c.c jailer/seccomp_policy.c jailer/seccomp_compile.c jailer/seccomp_names.c \
	base/error.c
build/gen/policy-to-c: $(POLICY_SRCS) $(wildcard jailer/seccomp*.h base/*.h)
	$(Q)mkdir -p $(@D)
	@$(if $(V),,echo '  LINK    $@')
	$(Q)gcc -O1 -std=gnu17 -D_GNU_SOURCE -I. $(POLICY_SRCS) -lseccomp -o $@.tmp && mv $@.tmp $@
build/gen/jailer/seccomp_builtin.h: jailer/policy/mayfly.policy build/gen/policy-to-c
	$(Q)mkdir -p $(@D)
	$(Q)build/gen/policy-to-c $< <$< >$@.tmp && mv $@.tmp $@

# Not order-only: the compiler's list of what a file includes leaves out what it takes for the system's.
$(filter $B/jailer/%,$(LIB_OBJS)): $(BPF_SKELETONS) build/gen/jailer/seccomp_builtin.h

$B/libmayfly.a: $(LIB_OBJS)
	@$(if $(V),,echo '  AR      $@')
	$(Q)rm -f $@.tmp && $(AR) rcs $@.tmp $^ && mv $@.tmp $@

$B/mayfly: ALL_LDFLAGS += -Wl,-T,mk/start.ld
$B/mayfly: mk/start.ld

# Copied, as an installed one is: the pieces that the linker writes make small folios of the page cache, of which a fault
# maps less, and a start takes 25 µs longer.
$(PROGRAMS): $B/%: $B/cmd/%.o $B/libmayfly.a
	@$(if $(V),,echo '  LINK    $@')
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $(filter-out %.ld,$^) $(LIBS) -o $@.linked
	$(Q)cp $@.linked $@.tmp && mv $@.tmp $@ && rm $@.linked

-include $(shell find $B -name '*.d' 2>/dev/null)
