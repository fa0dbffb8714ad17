# make install: the programs, bash's completion, and the client library for C programs (api-socket/client.h).

# Its own objects and what they use, with nothing to be seen from outside but its interface.
CLIENT_OBJS := $(addprefix $B/,api-socket/client.o api-socket/rpc_tree.o base/msgpack_reader.o base/error.o)
$B/libmayfly-client.a: $(CLIENT_OBJS)
	@$(if $(V),,echo '  AR      $@')
	$(Q)ld -r $^ -o $B/mayfly-client.o
	$(Q)objcopy --wildcard --keep-global-symbol='mayfly_client_*' $B/mayfly-client.o
	$(Q)rm -f $@.tmp && $(AR) rcs $@.tmp $B/mayfly-client.o && mv $@.tmp $@

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

.PHONY: install
install: all $B/libmayfly-client.a
	install -d $(addprefix $(DESTDIR)$(PREFIX)/,bin include/mayfly lib/pkgconfig share/bash-completion/completions)
	install -m 755 $(PROGRAMS) $(DESTDIR)$(PREFIX)/bin
	install -m 644 api-socket/client.h $(DESTDIR)$(PREFIX)/include/mayfly/client.h
	install -m 644 $B/libmayfly-client.a $(DESTDIR)$(PREFIX)/lib
	@echo "$$CLIENT_PC" >$(DESTDIR)$(PREFIX)/lib/pkgconfig/mayfly-client.pc
	$B/mayctl completion bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/mayctl
	install -m 644 cmd/mayfly.bash-completion $(DESTDIR)$(PREFIX)/share/bash-completion/completions/mayfly
	$(if $(DESTDIR),,@echo "installed to $(PREFIX)/bin; see what this host offers: mayfly check-host")
