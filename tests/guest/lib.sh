# What the scripts of this folder share: where things go, when they are up to date, one run at a
# time, progress. Sourced by bash.
#
# An artefact's key names all it was made from; build/guest/.state/NAME.key holds it, written last.
set -Eeuo pipefail

name=${0##*/}
here=$(cd "$(dirname "$0")" && pwd)
guest=$(cd "$here/../.." && pwd)/build/guest
state=$guest/.state
tmp=
job=
hint= # what to do if the next step fails

say() { echo "guest: $name: $*" >&2; }
die() { say "$@"; exit 1; }

trap 'say "stopped at line $LINENO: $BASH_COMMAND"' ERR

need_tools() {
	local tool
	for tool; do
		command -v "$tool" >/dev/null || die "needs \`$tool\`: install the Debian package that has it" \
			"(\`make\` in the project's root names and installs them all)"
	done
}

# The hash of the calling script and of files, as part of a key.
hash_of() { cat "$0" "$@" | sha256sum | cut -c1-32; }

# is_made KEY FILE...: were these files made with this key?
is_made() {
	local key=$1 file
	shift
	[ "$(cat "$state/$name.key" 2>/dev/null)" = "$key" ] || return 1
	for file; do [ -e "$guest/$file" ] || return 1; done
}

# begin KEY FILE...: ends the script if there is nothing to do; else this run is the only one, in $tmp.
begin() {
	key=$1
	is_made "$@" && exit 0
	mkdir -p "$state"
	exec 9>"$state/$name.lock"
	flock -n 9 || { say "another run is at it, waiting"; flock 9; }
	is_made "$@" && exit 0
	rm -rf "$state/$name".tmp.* # left by a run that was killed
	tmp=$(mktemp -d "$state/$name.tmp.XXXXXX")
	trap clean_up EXIT
	trap 'trap - ERR; exit 130' INT
	trap 'trap - ERR; exit 143' TERM HUP
	SECONDS=0
}

clean_up() {
	[ -z "$job" ] || { kill "$job" && wait "$job"; } 2>/dev/null || true
	rm -rf "$tmp"
}

# publish FILE...: moves them from $tmp into build/guest and says so; then the key is true.
publish() {
	local file
	rm -f "$state/$name.key"
	for file; do
		mkdir -p "$guest/$(dirname "$file")"
		mv -f "$tmp/$file" "$guest/$file"
	done
	echo "$key" >"$state/$name.key.new"
	mv -f "$state/$name.key.new" "$state/$name.key"
	say "ready after $SECONDS s: $*"
}

# step LABEL STEPS COMMAND...: runs it with its output in $tmp/log; shows the seconds, and if STEPS
# is not 0 how many of about that many "  CC file.o" lines have come. A failure shows the log's end.
step() {
	local label=$1 steps=$2 shown=-1 text done status=0
	shift 2
	: >"$tmp/log"
	"$@" >"$tmp/log" 2>&1 9>&- </dev/null &
	job=$!
	while kill -0 "$job" 2>/dev/null; do
		text="guest: $name: $label"
		if [ "$steps" != 0 ]; then
			done=$(grep -c '^  [A-Z]' "$tmp/log" || true)
			text+=" $((done < steps ? done * 100 / steps : 99))%"
		fi
		if [ -t 2 ]; then
			printf '\r%s (%d s)\033[K' "$text" "$SECONDS" >&2
		elif [ $((SECONDS / 15)) != "$shown" ]; then
			shown=$((SECONDS / 15))
			echo "$text ($SECONDS s)" >&2
		fi
		sleep 0.3
	done
	[ ! -t 2 ] || printf '\r\033[K' >&2
	wait "$job" || status=$?
	job=
	[ "$status" = 0 ] && return
	tail -n 25 "$tmp/log" >&2
	die "failed: $label (its last lines are above)${hint:+: $hint}"
}

# What apt would install of a package today; empty if apt knows no such package.
version_of() { apt-cache policy "$1" 2>/dev/null | sed -n 's/^  Candidate: \([^(].*\)$/\1/p'; }
