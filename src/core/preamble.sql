/* entrestate: the code. The data is made by entrestate.migrate(). */
\echo Use "CREATE EXTENSION entrestate" to load this file. \quit

