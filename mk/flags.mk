# Compiler and linker flags of each MODE.

warnings := -Wall -Wextra -Werror -Wshadow -Wpointer-arith -Wcast-qual -Wcast-align \
	-Wstrict-prototypes -Wmissing-prototypes -Wmissing-declarations -Wold-style-definition \
	-Wimplicit-fallthrough -Wvla -Wformat=2 -Wundef -Wwrite-strings -Wnull-dereference \
	-Wdouble-promotion -Wno-address-of-packed-member

is_clang := $(findstring clang,$(notdir $(CC)))
ifeq ($(is_clang),)
warnings += -Wlogical-op -Wduplicated-cond -Wduplicated-branches -Wjump-misses-init
endif

CPPFLAGS += -D_GNU_SOURCE -I. -MMD -MP
CFLAGS_base := -std=gnu17 -g $(warnings) -fno-common -fno-strict-aliasing

# What every build of a program that faces hostile bytes gets; FORTIFY needs optimisation.
hardening := -fstack-protector-strong -fstack-clash-protection -fcf-protection=full \
	-D_FORTIFY_SOURCE=3 -ftrivial-auto-var-init=zero
hardening_ld := -Wl,-z,relro,-z,now,-z,noexecstack,-z,separate-code
ifneq ($(is_clang),)
# clang 14 offers zero initialisation only behind a second flag that says one knows.
hardening += -enable-trivial-auto-var-init-zero-knowing-it-will-be-removed-from-clang
endif

CFLAGS_release := -O2 -fPIE $(hardening)
# Packed, the 4,000 relocations of a static-pie are 2 KiB instead of 100, which every process reads and keeps.
LDFLAGS_release := -static-pie $(hardening_ld) -Wl,-z,pack-relative-relocs

CFLAGS_debug := -Og -fPIE
LDFLAGS_debug := -static-pie

CFLAGS_asan := -O1 -fPIE -fno-omit-frame-pointer -fsanitize=address,undefined \
	-fno-sanitize-recover=all
LDFLAGS_asan := -pie -fsanitize=address,undefined

CFLAGS_tsan := -O1 -fPIE -fno-omit-frame-pointer -fsanitize=thread
LDFLAGS_tsan := -pie -fsanitize=thread

CFLAGS_fuzz := -O1 -fPIE -fno-omit-frame-pointer -fsanitize=address,undefined,fuzzer-no-link \
	-fno-sanitize-recover=all
LDFLAGS_fuzz := -pie -fsanitize=address,undefined,fuzzer

ifeq ($(CFLAGS_$(MODE)),)
$(error MODE=$(MODE) is none of release, debug, asan, tsan)
endif

ALL_CFLAGS := $(CFLAGS_base) $(CFLAGS_$(MODE)) $(CFLAGS)
ALL_LDFLAGS := $(LDFLAGS_$(MODE)) $(LDFLAGS)
# Debian 12's liburing.so lacks io_uring_register_restrictions(); its archive has it.
LIBS := -l:liburing.a -l:libhttp_parser.a -ljansson -l:libnettle.a -lseccomp -lbpf -lelf -lz -lpthread
