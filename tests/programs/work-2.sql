-- Second half, on what the first has left.
UPDATE person SET note = note || town || note WHERE id % 3 = 0;
DELETE FROM person WHERE id % 10 = 7;
SELECT count(*), sum(length(note)), max(length(note)) FROM person;
SELECT substr(name, 1, 9) AS head, count(DISTINCT note), group_concat(DISTINCT id % 5)
  FROM (SELECT * FROM person ORDER BY id) GROUP BY head ORDER BY head LIMIT 10;
SELECT count(*), sum(json_array_length(body)), sum(length(body)) FROM
  (SELECT json_group_array(json_object('id', id, 'name', name)) AS body FROM person GROUP BY town);
SELECT id, name, town, length(photo), note FROM person WHERE id % 11 = 0 ORDER BY name, id LIMIT 300;
PRAGMA integrity_check;
