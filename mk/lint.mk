# make lint: format, sizes, layering, headers that stand alone, static analysis.

C_FILES := $(wildcard $(addsuffix /*.c,$(LIB_DIRS) cmd tests/unit tests/fuzz tests/guest tests/lab tests/live tests/jail tests/uffd jailer/gen benches))
H_FILES := $(wildcard $(addsuffix /*.h,$(LIB_DIRS) cmd tests/unit tests/fuzz tests/guest tests/lab tests/live tests/jail tests/uffd jailer/gen benches))
TIDY_FILES := $(wildcard $(addsuffix /*.c,$(LIB_DIRS) cmd))

.PHONY: lint lint-format lint-layers lint-sizes lint-headers lint-tidy
lint: packages
	$(Q)$(MAKE) --no-print-directory lint-format lint-layers lint-sizes lint-headers lint-tidy
	@echo "lint: clean"

lint-format:
	@echo '  LINT    format'
	$(Q)clang-format --dry-run -Werror $(C_FILES) $(H_FILES)

lint-layers:
	@echo '  LINT    layers'
	$(Q)tests/lint/layers $(LIB_DIRS) cmd

lint-sizes:
	@echo '  LINT    sizes'
	$(Q)tests/lint/sizes $(C_FILES) $(H_FILES)

# A header compiles alone: whoever includes it needs to know nothing else.
lint-headers:
	@echo '  LINT    headers'
	$(Q)for h in $(filter-out tests/%,$(H_FILES)); do \
		echo "#include \"$$h\"" | gcc $(filter-out -MMD -MP,$(CPPFLAGS)) -std=gnu17 -Wall -Wextra -Werror \
			-fsyntax-only -x c - || exit 1; done

lint-tidy: $(BPF_SKELETONS) build/gen/jailer/seccomp_builtin.h
	@echo '  LINT    tidy'
	$(Q)printf '%s\n' $(TIDY_FILES) | xargs -P 2 -n 4 sh -c \
		'clang-tidy --quiet "$$@" -- -std=gnu17 -D_GNU_SOURCE -I. -isystem build/gen 2>/dev/null' tidy
