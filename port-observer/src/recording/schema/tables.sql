-- The tables of a recording as version 1 had them; `schema.rs` has what came later. docs/recording.md
-- describes them.
CREATE TABLE runs (
  id INTEGER PRIMARY KEY,
  host TEXT NOT NULL,
  kernel TEXT NOT NULL,
  version TEXT NOT NULL,
  backend TEXT NOT NULL,
  exact INTEGER NOT NULL,
  missing TEXT NOT NULL,
  ephemeral_range TEXT NOT NULL,
  is_sticky INTEGER NOT NULL,
  started_ns INTEGER NOT NULL,
  offset_ns INTEGER NOT NULL,
  stopped_ns INTEGER,
  observed_ns INTEGER
) STRICT;
CREATE TABLE segments (
  id INTEGER PRIMARY KEY,
  run INTEGER NOT NULL,
  era INTEGER NOT NULL,
  is_gap INTEGER NOT NULL,
  time_ns INTEGER NOT NULL,
  offset_ns INTEGER NOT NULL,
  first_event INTEGER NOT NULL,
  first_process INTEGER NOT NULL,
  first_path INTEGER NOT NULL,
  first_string INTEGER NOT NULL
) STRICT;
CREATE TABLE strings (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;
CREATE TABLE processes (
  id INTEGER PRIMARY KEY,
  pid INTEGER NOT NULL,
  name TEXT NOT NULL,
  executable INTEGER,
  command_line INTEGER,
  uid INTEGER,
  start_time_ns INTEGER NOT NULL,
  cgroup INTEGER
) STRICT;
CREATE TABLE paths (
  id INTEGER PRIMARY KEY,
  netns INTEGER NOT NULL,
  protocol TEXT NOT NULL,
  local_address TEXT NOT NULL,
  remote_address TEXT,
  device INTEGER NOT NULL
) STRICT;
CREATE TABLE events (
  id INTEGER PRIMARY KEY,
  time_ns INTEGER NOT NULL,
  type INTEGER NOT NULL,
  socket INTEGER,
  path INTEGER,
  local_port INTEGER,
  remote_port INTEGER,
  process INTEGER,
  thread INTEGER,
  via INTEGER,
  requested_port INTEGER,
  errno INTEGER,
  reason INTEGER,
  old_state INTEGER,
  state INTEGER,
  search_ns INTEGER,
  other_socket INTEGER,
  flags INTEGER
) STRICT;
CREATE TABLE namespaces (
  id INTEGER PRIMARY KEY,
  event INTEGER,
  segment INTEGER,
  netns INTEGER NOT NULL,
  names TEXT NOT NULL,
  port_min INTEGER NOT NULL,
  port_max INTEGER NOT NULL,
  reserved_ports TEXT NOT NULL,
  tw_reuse INTEGER NOT NULL,
  tw_reuse_delay_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX namespaces_by_event ON namespaces (event);
CREATE TABLE details (event INTEGER PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE losses (
  event INTEGER PRIMARY KEY,
  count INTEGER NOT NULL,
  place TEXT NOT NULL,
  kind TEXT NOT NULL
) STRICT;
CREATE TABLE holdings (
  segment INTEGER NOT NULL,
  socket INTEGER NOT NULL,
  path INTEGER NOT NULL,
  local_port INTEGER NOT NULL,
  remote_port INTEGER,
  process INTEGER,
  thread INTEGER,
  since_ns INTEGER,
  began_ns INTEGER NOT NULL,
  role INTEGER NOT NULL,
  holds INTEGER NOT NULL,
  flags INTEGER NOT NULL
) STRICT;
CREATE INDEX holdings_by_segment ON holdings (segment);
