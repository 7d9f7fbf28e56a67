# entrestate: built with PGXS.
#
#   make demo                    what it does, on data, in a private cluster
#   make check                   every test suite, in private clusters
#   make bench                   speed, as ratios measured in the same run
#   make && make install && make installcheck      the PGXS way, on your server

EXTENSION    = entrestate
EXTVERSION   = 0.1.0
MODULE_big   = entrestate

# The rooms, in the order in which data flows through them (docs/design.md).
# Code and schema are concatenated in this order: an arrow may not point back.
ROOMS = core tenancy guard activity campaigns leads agent audience sender delivery jobs health

OBJS       = $(patsubst %.c,%.o,$(sort $(foreach r,$(ROOMS),$(wildcard src/$(r)/*.c))))
CODE       = $(foreach r,$(ROOMS),$(wildcard src/$(r)/functions.sql) $(filter-out %/functions.sql %/schema.sql %/preamble.sql %/epilogue.sql,$(sort $(wildcard src/$(r)/*.sql)))) src/core/epilogue.sql
SCHEMA     = $(foreach r,$(ROOMS),$(wildcard src/$(r)/schema.sql))

CODE_SQL   = entrestate--$(EXTVERSION).sql
SCHEMA_SQL = entrestate.schema--$(EXTVERSION).sql

DATA_built  = $(CODE_SQL) $(SCHEMA_SQL)
EXTRA_CLEAN = $(CODE_SQL) $(SCHEMA_SQL) $(PHONE) $(PHONE_OBJS)

# In C++ and a library of its own, so that only backends that read a phone
# number load what it brings.
PHONE      = entrestate_phone$(DLSUFFIX)
PHONE_OBJS = src/leads/phone.o

PG_CPPFLAGS = -I$(srcdir)/src -DENTRESTATE_VERSION='"$(EXTVERSION)"'
PG_CFLAGS   = -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers
PG_CXXFLAGS = -std=c++17 $(PG_CFLAGS) $(COPT)
SHLIB_LINK  = -lcrypto -lidn2

REGRESS      = $(patsubst sql/%.sql,%,$(sort $(wildcard sql/*.sql)))
REGRESS_OPTS = --inputdir=. --outputdir=.
ISOLATION    = $(patsubst test/specs/%.spec,%,$(sort $(wildcard test/specs/*.spec)))
ISOLATION_OPTS = --inputdir=test --outputdir=test

PG_CONFIG ?= pg_config

# The commands that need no PGXS (a fresh machine does not have it yet), and
# would clash with its own "check".
OWN_GOALS := $(filter check demo bench deps,$(MAKECMDGOALS))
ifneq ($(OWN_GOALS),)

check: deps
	@test/check $(SUITES)
demo: deps
	@test/demo/run
bench: deps
	@test/bench/run
deps:
	@test/deps $(if $(filter bench,$(OWN_GOALS)),--bench)
.PHONY: check demo bench deps

else

PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

$(CODE_SQL): $(CODE) Makefile
	cat src/core/preamble.sql $(CODE) > $@
$(SCHEMA_SQL): $(SCHEMA) Makefile
	cat $(SCHEMA) > $@
$(OBJS): $(wildcard src/*/*.h)

all: $(PHONE)
$(PHONE): $(PHONE_OBJS)
	$(CXX) $(CXXFLAGS) -shared -o $@ $(PHONE_OBJS) $(LDFLAGS) $(LDFLAGS_SL) -lphonenumber
$(PHONE_OBJS): %.o: %.cc Makefile
	$(CXX) $(CXXFLAGS) $(CPPFLAGS) -c -o $@ $<
install: install-phone
install-phone: $(PHONE) installdirs-lib
	$(INSTALL_SHLIB) $(PHONE) '$(DESTDIR)$(pkglibdir)/'
uninstall: uninstall-phone
uninstall-phone:
	rm -f '$(DESTDIR)$(pkglibdir)/$(PHONE)'
.PHONY: install-phone uninstall-phone

print-%:
	@echo $($*)

endif
