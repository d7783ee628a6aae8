-- The views of a recording. None is used by the program: they are for who queries a recording.
CREATE VIEW callers AS
SELECT p.id, p.pid, p.name, e.text AS executable, l.text AS command_line, p.uid, c.text AS cgroup,
  ifnull(p.cut, 0) AS cut
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
  c.pid, c.name, c.executable, c.command_line, c.cgroup, c.cut, e.thread AS tid, e.search_ns,
  ifnull(e.repeated, 0) AS repeated
FROM events e
LEFT JOIN paths p ON p.id = e.path
LEFT JOIN callers c ON c.id = e.process
WHERE e.type = 2;

CREATE VIEW conflicts AS
SELECT e.id, e.time_ns,
  strftime('%Y-%m-%dT%H:%M:%S', e.time_ns / 1000000000, 'unixepoch')
    || printf('.%03dZ', e.time_ns / 1000000 % 1000) AS time,
  p.netns, p.protocol,
  CASE e.via WHEN 1 THEN 'connect' WHEN 2 THEN 'bind' WHEN 3 THEN 'autobind' END AS via,
  CASE e.errno WHEN 11 THEN 'EAGAIN' WHEN 98 THEN 'EADDRINUSE' WHEN 99 THEN 'EADDRNOTAVAIL'
    ELSE e.errno END AS errno,
  p.local_address, e.local_port,
  c.pid, c.name, c.executable, c.command_line, c.cgroup, c.cut, e.thread AS tid,
  ifnull(e.repeated, 0) AS repeated
FROM events e
LEFT JOIN paths p ON p.id = e.path
LEFT JOIN callers c ON c.id = e.process
WHERE e.type = 3;

CREATE VIEW refusals AS
SELECT e.id, e.time_ns,
  strftime('%Y-%m-%dT%H:%M:%S', e.time_ns / 1000000000, 'unixepoch')
    || printf('.%03dZ', e.time_ns / 1000000 % 1000) AS time,
  p.netns, p.protocol,
  CASE e.via WHEN 1 THEN 'connect' WHEN 2 THEN 'bind' WHEN 3 THEN 'autobind' END AS via,
  CASE e.errno WHEN 99 THEN 'EADDRNOTAVAIL' ELSE e.errno END AS errno,
  CASE e.reason WHEN 16 THEN 'address_not_local' WHEN 17 THEN 'no_source_address' ELSE e.reason END AS reason,
  p.local_address, e.local_port, p.remote_address, e.remote_port,
  c.pid, c.name, c.executable, c.command_line, c.cgroup, c.cut, e.thread AS tid,
  ifnull(e.repeated, 0) AS repeated
FROM events e
LEFT JOIN paths p ON p.id = e.path
LEFT JOIN callers c ON c.id = e.process
WHERE e.type = 16;

CREATE VIEW acquisitions AS
SELECT e.id, e.time_ns,
  strftime('%Y-%m-%dT%H:%M:%S', e.time_ns / 1000000000, 'unixepoch')
    || printf('.%03dZ', e.time_ns / 1000000 % 1000) AS time,
  p.netns, p.protocol,
  CASE e.via WHEN 1 THEN 'connect' WHEN 2 THEN 'bind' WHEN 3 THEN 'autobind' END AS via,
  e.requested_port, p.local_address, e.local_port, p.remote_address, e.remote_port,
  c.pid, c.name, c.executable, c.command_line, c.cgroup, c.cut, e.thread AS tid, e.search_ns
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
  c.pid, c.name, c.executable, c.command_line, c.cgroup, c.cut
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
