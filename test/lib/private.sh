# shellcheck shell=bash
# test/lib/private.sh: a private PostgreSQL with entrestate in it, in a private copy of the tree.
#
# PostgreSQL refuses to run as root, PGXS has no temp-install, and a test must leave neither
# build products in the checkout nor files in the system's directories. So a script that
# needs a server begins with
#
#   . "$(dirname "${BASH_SOURCE[0]}")/lib/private.sh"
#   es_as_user "$0" "$@"        # goes on only in a copy of the tree, as an ordinary user
#   es_build check              # or release
#   es_private_root             # a relocated PostgreSQL with the build installed in it
#   es_cluster_start main "shared_preload_libraries = 'pg_cron'"
#
# and ends as it likes: when it is over, every cluster and process started in it is stopped
# and the copy removed. KEEP=1 keeps the files and says where they are.
#
# ES_TMP is the private directory, with: tree/ (the copy), root/ (PostgreSQL), clusters/<name>/
# (data/ and log), s/ (sockets), tmp/ (TMPDIR), home/ (HOME). ES_HOME is the caller's HOME.

set -euo pipefail
ES_TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)

# An absolute path: the private bin directory, first in PATH, has a pg_config too.
if [ -z "${PG_CONFIG:-}" ] && [ -n "${PGVERSION:-}" ]; then
	PG_CONFIG=/usr/lib/postgresql/$PGVERSION/bin/pg_config
fi
PG_CONFIG=$(command -v "${PG_CONFIG:-pg_config}" || echo "${PG_CONFIG:-pg_config}")
export PG_CONFIG

# where Debian has pgbouncer
case :$PATH: in *:/usr/sbin:*) ;; *) PATH=$PATH:/usr/sbin ;; esac

es_die() {
	echo "${0##*/}: $*" >&2
	exit 1
}

# ---------------------------------------------------------------- what must be installed

# Prints PostgreSQL's major version: that of PG_CONFIG, or else the one to install.
es_pgversion() {
	local v=${PGVERSION:-}
	[ -n "$v" ] || v=$("$PG_CONFIG" --version 2>/dev/null | sed 's/[^0-9]*\([0-9]*\).*/\1/') || true
	[ -n "$v" ] || v=$(apt-cache depends postgresql 2>/dev/null |
		sed -n 's/.*Depends: postgresql-\([0-9]*\)$/\1/p') || true
	echo "${v:-15}"
}

# A path below one of pg_config's directories, or Debian's where there is no pg_config yet.
es_pgpath() { # --bindir file
	local dir
	if ! dir=$("$PG_CONFIG" "$1" 2>/dev/null); then
		case $1 in
			--bindir) dir=/usr/lib/postgresql/$(es_pgversion)/bin ;;
			--sharedir) dir=/usr/share/postgresql/$(es_pgversion) ;;
		esac
	fi
	echo "$dir/$2"
}

# True when a tool is there. A tool is a command, or one of the prefixed kinds below.
es_has() {
	case $1 in
		server) [ -x "$(es_pgpath --bindir initdb)" ] ;;
		pgxs) [ -f "$("$PG_CONFIG" --pgxs 2>/dev/null)" ] ;;
		extension:*) [ -f "$(es_pgpath --sharedir "extension/${1#*:}.control")" ] ;;
		perl:*) perl "-M${1#*:}" -e1 2>/dev/null ;;
		header:*) [ -f "/usr/include/${1#*:}" ] || [ -n "$(compgen -G "/usr/include/*/${1#*:}")" ] ;;
		*) command -v "$1" >/dev/null ;;
	esac
}

# Prints the Debian package that has a tool.
es_package() {
	case $1 in
		gcc | g++ | make) echo build-essential ;;
		server) echo "postgresql-$(es_pgversion)" ;;
		pgxs) echo "postgresql-server-dev-$(es_pgversion)" ;;
		extension:pg_cron) echo "postgresql-$(es_pgversion)-cron" ;;
		extension:*) echo "postgresql-$(es_pgversion)-${1#*:}" ;;
		perl:IPC::Run) echo libipc-run-perl ;;
		perl:*) echo perl ;;
		header:openssl/*) echo libssl-dev ;;
		header:curl/*) echo libcurl4-openssl-dev ;;
		header:idn2.h) echo libidn2-dev ;;
		header:phonenumbers/*) echo libphonenumber-dev ;;
		node) echo nodejs ;;
		*) echo "$1" ;;
	esac
}

# Prints the packages that the given tools lack.
es_missing() {
	local tool
	for tool; do
		es_has "$tool" || es_package "$tool"
	done | sort -u
}

# Ends the script, saying what to install, unless every given tool is there.
es_need() {
	local missing
	missing=$(es_missing "$@" | paste -sd' ')
	[ -z "$missing" ] || es_die "not installed: $missing. Debian: as root, test/deps, or: apt-get install $missing"
}

# ---------------------------------------------------------------- a private copy, an ordinary user

# Copies the tree to a directory without what was built in it: what git knows or would add,
# and where git cannot tell (no checkout, or one of another user) everything.
es_copy_tree() { # directory
	local prefix f
	local -a tar=(tar --exclude=.git --exclude='*.o' --exclude='*.so' --exclude='*.bc'
		--exclude=./results --exclude=./tmp_check --exclude=__pycache__ --warning=no-file-changed -c)
	mkdir -p "$1"
	(
		cd "$ES_TOP"
		if prefix=$(git rev-parse --show-prefix 2>/dev/null) && [ -z "$prefix" ]; then
			git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' f; do
				# a file deleted but not yet committed is still listed
				if [ -e "$f" ] || [ -L "$f" ]; then printf '%s\0' "$f"; fi
			done | "${tar[@]}" --null -T -
		else
			"${tar[@]}" .
		fi || [ $? -eq 1 ] # 1: a file changed while it was read
	) | tar -x --no-same-owner -C "$1"
}

# Runs a command in a process group of its own and returns its status. A signal ends the group
# at once: a plain foreground child would make bash put off its traps until the child ends.
es_supervise() {
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM
	local status=0
	set -m
	"$@" </dev/null &
	ES_CHILD=$!
	set +m
	wait "$ES_CHILD" || status=$?
	ES_CHILD=
	return "$status"
}

# Ends what es_supervise runs, and what was left behind in its process group.
es_unsupervise() {
	[ -n "${ES_CHILD:-}" ] || return 0
	es_end TERM "-$ES_CHILD"
	ES_CHILD=
}

# True while one of the processes (a negative number: groups) lives. Unlike kill -0 it does not
# count the dead that nobody has waited for, which in a container may stay for ever.
es_alive() { # pid...
	{ cat /proc/[0-9]*/stat 2>/dev/null || true; } | awk -v want=" $* " '
		{ pid = $1; sub(/.*\) /, "") }
		$1 != "Z" && (index(want, " " pid " ") || index(want, " -" $3 " ")) { found = 1 }
		END { exit !found }'
}

# Sends a signal to processes, waits for their end, and kills those that are still there after 10 s.
es_end() { # signal pid...
	local signal=$1 i
	shift
	kill -"$signal" -- "$@" 2>/dev/null || true
	for ((i = 0; i < 100; i++)); do
		es_alive "$@" || return 0
		sleep 0.1
	done
	kill -KILL -- "$@" 2>/dev/null || true
}

# Stops all that still runs in ES_TMP. A postmaster is known by its directory (it overwrites its
# environment), anything else by the ES_TMP in its environment.
es_stop_all() {
	local file pid
	local -a pids=()
	while IFS= read -r file; do
		pid=$(head -n 1 "$file")
		if [ "$(readlink "/proc/$pid/cwd")" = "${file%/*}" ]; then pids+=("$pid"); fi
	done < <(find "$ES_TMP" -name postmaster.pid 2>/dev/null)
	# fast where the data is kept, immediate where it is not
	for pid in ${pids[@]+"${pids[@]}"}; do
		es_end "$([ "${KEEP:-}" = 1 ] && echo INT || echo QUIT)" "$pid"
	done
	while IFS= read -r file; do
		pid=${file#/proc/}
		es_end TERM "${pid%/environ}"
	done < <(grep -lszxF "ES_TMP=$ES_TMP" /proc/[0-9]*/environ)
}

es_cleanup() {
	local status=$?
	set +e # all of it, whatever fails
	trap - EXIT
	trap '' HUP INT TERM
	es_unsupervise
	# make demo KEEP=1 leaves its cluster running
	if [ ! -e "$ES_TMP/stay" ]; then es_stop_all; fi
	if [ "${KEEP:-}" != 1 ]; then rm -rf "$ES_TMP"; fi
	exit "$status"
}

# Starts the script again in a private copy of the tree, as an ordinary user, and exits with its
# status when it is over. Returns at once in the copy, with the copy as working directory.
es_as_user() { # "$0" "$@"
	if [ -n "${ES_TMP:-}" ] && [ "$ES_TOP" = "$ES_TMP/tree" ]; then
		cd "$ES_TOP"
		return
	fi
	local script user='' var status=0
	local -a as=()
	script=$(realpath --relative-to="$ES_TOP" "$1")
	shift
	ES_TMP=$(mktemp -d "${TMPDIR:-/tmp}/entrestate-$(basename "${script%/run}").XXXXXX")
	ES_TMP=$(cd "$ES_TMP" && pwd -P)
	trap es_cleanup EXIT
	# said now: the last line of the output belongs to the script
	if [ "${KEEP:-}" = 1 ]; then echo "KEEP=1: all files stay in $ES_TMP" >&2; fi

	mkdir "$ES_TMP/home" "$ES_TMP/tmp" "$ES_TMP/s"
	es_copy_tree "$ES_TMP/tree"
	if [ "$(id -u)" = 0 ]; then
		user=nobody
		if id postgres >/dev/null 2>&1; then user=postgres; fi
		if [ -d "${ENTRESTATE_TEST_DATA:-}" ]; then
			cp -rL "$ENTRESTATE_TEST_DATA" "$ES_TMP/data"
			export ENTRESTATE_TEST_DATA=$ES_TMP/data
		fi
		chown -R "$user:$(id -gn "$user")" "$ES_TMP"
		as=(setpriv "--reuid=$user" "--regid=$(id -gn "$user")" --init-groups --)
		cd "$ES_TMP" # the caller's directory may be closed to that user
		"${as[@]}" test -r "$ES_TMP/tree/$script" || es_die "user $user cannot read below ${TMPDIR:-/tmp}: set TMPDIR"
	elif [ -d "${ENTRESTATE_TEST_DATA:-}" ]; then
		ENTRESTATE_TEST_DATA=$(cd "$ENTRESTATE_TEST_DATA" && pwd -P)
	fi

	# Nothing of the caller's server, locale or make may reach the tests. What was given to make
	# as a variable is in the environment too, and stays.
	for var in ${!PG*}; do
		case $var in PG_* | PGVERSION) ;; *) unset "$var" ;; esac
	done
	unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES CDPATH ENV BASH_ENV ${!LC_*} LANGUAGE
	es_supervise ${as[@]+"${as[@]}"} env -C "$ES_TMP/tree" \
		ES_TMP="$ES_TMP" ES_HOME="${HOME:-}" HOME="$ES_TMP/home" TMPDIR="$ES_TMP/tmp" LANG=C.UTF-8 \
		"$ES_TMP/tree/$script" "$@" || status=$?
	exit "$status"
}

# ---------------------------------------------------------------- build, and a PostgreSQL to install in

# Builds in the copy. "check" is with assertions and without a warning; "release" is as users build.
es_build() { # [release|check]
	local copt="${COPT:-}"
	es_need gcc g++ make pgxs header:openssl/hmac.h header:idn2.h header:phonenumbers/phonenumberutil.h
	ES_MAKE=(make -s "PG_CONFIG=$PG_CONFIG")
	if [ "${1:-release}" = check ]; then
		# PostgreSQL's own headers are not clean of the three that are off
		copt="-O1 -g -DUSE_ASSERT_CHECKING -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare"
		copt="$copt -Wno-missing-field-initializers -Werror ${COPT:-}"
		ES_MAKE+=(with_llvm=no) # half the time, and bitcode is of no use without -O2
	fi
	ES_MAKE+=("COPT=$copt")
	"${ES_MAKE[@]}" clean >/dev/null
	"${ES_MAKE[@]}" -j"$(nproc)" all
}

# Makes a private PostgreSQL in $ES_TMP/root and installs the build there. PostgreSQL finds its
# files relative to where its own program is, so the same layout below another root works; the
# programs must be copies for that, the rest are links to the system's files.
es_private_root() {
	local root=$ES_TMP/root bindir dir program
	es_need server
	bindir=$("$PG_CONFIG" --bindir)
	for dir in "$("$PG_CONFIG" --pkglibdir)" "$("$PG_CONFIG" --sharedir)"; do
		mkdir -p "$root$dir"
		cp -rs "$dir/." "$root$dir/"
	done
	mkdir -p "$root$bindir"
	# by name, since elsewhere than in Debian they may live in /usr/bin
	for program in initdb postgres psql createdb dropdb createuser dropuser \
		clusterdb reindexdb vacuumdb pgbench "$bindir"/pg_*; do
		program=$bindir/${program##*/}
		if [ -x "$program" ]; then cp -L "$program" "$root$bindir/"; fi
	done
	# not what an installed entrestate has there
	find "$root" -depth -name 'entrestate*' -exec rm -rf {} +
	"${ES_MAKE[@]}" install "DESTDIR=$root" >/dev/null
	export PATH="$root$bindir:$PATH"
	[ "$(pg_config --pkglibdir)" = "$root$("$PG_CONFIG" --pkglibdir)" ] ||
		es_die "this PostgreSQL cannot be relocated: $("$PG_CONFIG" --version)"
}

# ---------------------------------------------------------------- clusters

# Prints a port that nobody listens on, below the range that clients are given.
es_free_port() {
	local port
	while :; do
		port=$((20000 + RANDOM % 12000))
		(exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
	done
	echo "$port"
}

# Starts a cluster with superuser postgres and lets PGHOST, PGPORT, PGUSER, PGDATABASE point at it.
# The lines go last into postgresql.conf, so they override what stands before.
es_cluster_start() { # name [line of postgresql.conf]...
	local name=$1 dir=$ES_TMP/clusters/$1 try
	shift
	mkdir -p "$dir"
	initdb -D "$dir/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync --no-instructions \
		>"$dir/initdb.log" 2>&1 || { cat "$dir/initdb.log" >&2; return 1; }
	cat >>"$dir/data/postgresql.conf" <<-CONF
		listen_addresses = '127.0.0.1'
		unix_socket_directories = '$ES_TMP/s'
		fsync = off
		log_line_prefix = '%m [%p] %q%d %a '
		lc_messages = 'C'
	CONF
	if [ $# -gt 0 ]; then printf '%s\n' "$@" >>"$dir/data/postgresql.conf"; fi
	for try in 1 2 3 4 5; do
		PGPORT=$(es_free_port)
		echo "port = $PGPORT" >>"$dir/data/postgresql.conf"
		if pg_ctl -D "$dir/data" -l "$dir/log" -w -s start; then break; fi
		# somebody may have taken the port in between
		if [ "$try" = 5 ] || ! grep -q 'Address already in use' "$dir/log"; then
			tail -n 50 "$dir/log" >&2
			return 1
		fi
		rm "$dir/log"
	done
	ES_CLUSTER=$name
	export ES_CLUSTER PGPORT PGHOST=$ES_TMP/s PGUSER=postgres PGDATABASE=postgres
	[ "$(psql -XAtqc "SELECT count(*) FROM pg_config() WHERE name IN ('PKGLIBDIR', 'SHAREDIR')
		AND starts_with(setting, '$ES_TMP/root/')")" = 2 ] || es_die "the server does not use $ES_TMP/root"
}

es_cluster_stop() { # [name]
	pg_ctl -D "$ES_TMP/clusters/${1:-$ES_CLUSTER}/data" -m fast -w -s stop
}
