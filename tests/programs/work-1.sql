-- First half of the work for the sqlite3 shell.
CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT, town TEXT, note TEXT, photo BLOB);
INSERT INTO person
  WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 800)
  SELECT i, printf('person %06d of %d', i * 7919 % 800, i % 97), printf('town %d', i * 31 % 49),
         replace(hex(zeroblob(i % 120)), '00', char(97 + i % 26)), zeroblob(i * 13 % 700)
  FROM n;
CREATE INDEX person_town ON person (town, name);
SELECT town, count(*), sum(length(note)), min(name) FROM person GROUP BY town ORDER BY 2 DESC, town LIMIT 20;
SELECT length(group_concat(name, ';')) FROM person;
