-- Allocation-heavy work for the demo's SQLite shell. No clock and no random(): the output is always the same.
PRAGMA cache_size = -65536;
CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT, town TEXT, note TEXT, photo BLOB);
CREATE TABLE visit (person INTEGER, place INTEGER, score REAL);

BEGIN;
INSERT INTO person
  WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)
  SELECT i, printf('person %06d of %d', i * 7919 % 60000, i % 977), printf('town %d', i * 31 % 499),
         replace(hex(zeroblob(i % 120)), '00', char(97 + i % 26)), zeroblob(i * 13 % 700)
  FROM n;
INSERT INTO visit
  WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000)
  SELECT i * 7907 % 60000 + 1, i * 104729 % 1009, (i * 37 % 1000) / 8.0
  FROM n;
COMMIT;

CREATE INDEX person_town ON person (town, name);
CREATE INDEX visit_person ON visit (person);

.print -- towns
SELECT town, count(*), sum(length(note)), sum(length(photo)), min(name), max(name)
  FROM person GROUP BY town ORDER BY 2 DESC, town LIMIT 20;

.print -- joined
SELECT p.town, count(*) AS visits, round(avg(v.score), 3)
  FROM visit v JOIN person p ON p.id = v.person
  GROUP BY p.town ORDER BY visits DESC, p.town LIMIT 15;

.print -- strings
SELECT length(group_concat(name, ';')), length(group_concat(upper(note), ',')) FROM person;
SELECT substr(name, 1, 9) AS head, count(DISTINCT note), group_concat(DISTINCT id % 5)
  FROM (SELECT * FROM person ORDER BY id) GROUP BY head ORDER BY head LIMIT 10;

.print -- json
WITH doc(town, body) AS (
  SELECT town, json_group_array(json_object('id', id, 'name', name, 'n', length(note))) FROM
    (SELECT * FROM person WHERE id % 4 = 0 ORDER BY id) GROUP BY town)
SELECT count(*), sum(json_array_length(body)), sum(json_extract(body, '$[1].n')), sum(length(body)) FROM doc;

.print -- updates
UPDATE person SET note = note || town || note WHERE id % 3 = 0;
DELETE FROM person WHERE id % 10 = 7;
SELECT count(*), sum(length(note)), max(length(note)) FROM person;

.print -- rows
SELECT id, name, town, length(photo), note FROM person WHERE id % 11 = 0 ORDER BY name, id LIMIT 4000;

.print -- check
PRAGMA integrity_check;
