-- The schema of a recording, version 1. docs/recording.md describes it.
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

CREATE VIEW callers AS
SELECT p.id, p.pid, p.name, e.text AS executable, l.text AS command_line, p.uid, c.text AS cgroup
FROM processes p
LEFT JOIN strings e ON e.id = p.executable
LEFT JOIN strings l ON l.id = p.command_line
LEFT JOIN strings c ON c.id = p.cgroup;

CREATE VIEW exhaustions AS
SELECT e.id, e.time_ns,
  strftime('%Y-%m-%dT%H:%M:%S', e.time_ns / 1000000000, 'unixepoch')
    || printf('.%03dZ', e.time_ns / 1000000 % 1000) AS time,
  p.netns, p.protocol,
  CASE e.via WHEN 1 THEN 'connect' WHEN 2 THEN 'bind' WHEN 3 THEN 'autobind' END AS via,
  CASE e.errno WHEN 11 THEN 'EAGAIN' WHEN 98 THEN 'EADDRINUSE' WHEN 99 THEN 'EADDRNOTAVAIL'
    ELSE e.errno END AS errno,
  p.local_address, p.remote_address, e.remote_port,
  c.pid, c.name, c.executable, c.command_line, c.cgroup, e.thread AS tid, e.search_ns
FROM events e
LEFT JOIN paths p ON p.id = e.path
LEFT JOIN callers c ON c.id = e.process
WHERE e.type = 2;

CREATE VIEW acquisitions AS
SELECT e.id, e.time_ns,
  strftime('%Y-%m-%dT%H:%M:%S', e.time_ns / 1000000000, 'unixepoch')
    || printf('.%03dZ', e.time_ns / 1000000 % 1000) AS time,
  p.netns, p.protocol,
  CASE e.via WHEN 1 THEN 'connect' WHEN 2 THEN 'bind' WHEN 3 THEN 'autobind' END AS via,
  e.requested_port, p.local_address, e.local_port, p.remote_address, e.remote_port,
  c.pid, c.name, c.executable, c.command_line, c.cgroup, e.thread AS tid, e.search_ns
FROM events e
LEFT JOIN paths p ON p.id = e.path
LEFT JOIN callers c ON c.id = e.process
WHERE e.type = 1;

-- Who begins (is_held = 1) or ceases (0) to keep a port, and under which key. What a scan found again
-- (is_found = 1) may lack its process.
CREATE VIEW holding_changes AS
SELECT s.era, s.first_event - 0.5 AS id, s.time_ns, 1 AS is_held,
  CASE h.socket WHEN 0 THEN h.path || ':' || h.local_port || ':' || ifnull(h.remote_port, '')
    ELSE h.socket END AS holding,
  h.path, h.local_port, h.remote_port, h.process,
  CASE h.holds WHEN 4 THEN 'time_wait' ELSE 'socket' END AS holds, 0 AS is_found
FROM holdings h JOIN segments s ON s.id = h.segment
WHERE s.id = s.era AND h.role < 2
UNION ALL
SELECT (SELECT s.era FROM segments s WHERE s.first_event <= e.id ORDER BY s.id DESC LIMIT 1),
  e.id, e.time_ns, e.type <> 8 AND e.type <> 10,
  CASE ifnull(e.socket, 0)
    WHEN 0 THEN e.path || ':' || e.local_port || ':' || ifnull(e.remote_port, '')
    ELSE e.socket END,
  e.path, e.local_port, e.remote_port, e.process,
  CASE WHEN e.type = 12 AND e.flags & 32 THEN 'time_wait' ELSE 'socket' END, e.type = 12
FROM events e
WHERE e.type IN (1, 4, 6, 8, 10, 12)
UNION ALL
SELECT (SELECT s.era FROM segments s WHERE s.first_event <= e.id ORDER BY s.id DESC LIMIT 1),
  e.id, e.time_ns, 1,
  ifnull(e.other_socket, e.path || ':' || e.local_port || ':' || ifnull(e.remote_port, '')),
  e.path, e.local_port, e.remote_port, e.process, 'time_wait', 0
FROM events e
WHERE e.type = 8;

CREATE VIEW holders_at AS
SELECT s.time_ns AS from_ns,
  ifnull(s.next_ns, 9223372036854775807) AS until_ns,
  p.netns, p.protocol, s.holds, p.local_address, s.local_port, p.remote_address, s.remote_port,
  c.pid, c.name, c.executable, c.command_line, c.cgroup
FROM (
  SELECT *, lead(time_ns, 1, (
    SELECT min(n.time_ns) FROM segments n WHERE n.id = n.era AND n.id > changes.era
  )) OVER (PARTITION BY era, holding ORDER BY id) AS next_ns
  FROM (
    SELECT *, lag(is_held, 1, 0) OVER (PARTITION BY era, holding ORDER BY id) AS was_held
    FROM holding_changes
  ) changes
  WHERE NOT (was_held AND is_found AND process IS NULL)
) s
JOIN paths p ON p.id = s.path
LEFT JOIN callers c ON c.id = s.process
WHERE s.is_held;
