# make install: the programs, bash's completion, and the client library for C programs (api-socket/client.h).

# Its own objects and what they use, with nothing to be seen from outside but its interface. Two makes of one
# tree may be here at once, so the object in between has a name of each one's own.
CLIENT_OBJS := $(addprefix $B/,api-socket/client.o api-socket/rpc_tree.o base/msgpack_reader.o base/error.o)
$B/libmayfly-client.a: $(CLIENT_OBJS)
	@$(if $(V),,echo '  AR      $@')
	$(Q)dir=$$(mktemp -d $B/client.XXXXXX) && trap 'rm -rf "$$dir"' EXIT && \
	ld -r $^ -o $$dir/mayfly-client.o && \
	objcopy --wildcard --keep-global-symbol='mayfly_client_*' $$dir/mayfly-client.o && \
	$(AR) rcs $$dir/made.a $$dir/mayfly-client.o && mv $$dir/made.a $@

VERSION := $(shell sed -n 's/.*MAYFLY_VERSION "\(.*\)"/\1/p' base/version.h)
define CLIENT_PC
Name: mayfly-client
Description: client of a mayfly microVM's API socket
Version: $(VERSION)
Requires: jansson
Cflags: -I$(PREFIX)/include
Libs: -L$(PREFIX)/lib -lmayfly-client
endef
export CLIENT_PC

# Both may hold spaces.
to := $(DESTDIR)$(PREFIX)

.PHONY: install
install: all $B/libmayfly-client.a
	install -d "$(to)/bin" "$(to)/include/mayfly" "$(to)/lib/pkgconfig" "$(to)/share/bash-completion/completions"
	install -m 755 $(PROGRAMS) "$(to)/bin"
	install -m 644 api-socket/client.h "$(to)/include/mayfly/client.h"
	install -m 644 $B/libmayfly-client.a "$(to)/lib"
	@echo "$$CLIENT_PC" >"$(to)/lib/pkgconfig/mayfly-client.pc"
	$B/mayctl completion bash >"$(to)/share/bash-completion/completions/mayctl"
	install -m 644 cmd/mayfly.bash-completion "$(to)/share/bash-completion/completions/mayfly"
	$(if $(DESTDIR),,@echo "installed to $(PREFIX)/bin; see what this host offers: mayfly check-host")
