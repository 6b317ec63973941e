-- Allocation-heavy work for the demo. The output depends on nothing but the argument (how often to repeat):
-- no clock, no addresses, no order of pairs(), so two runs must print the same bytes.

local repeats = tonumber(arg[1]) or 3

-- Numbers from a small generator of our own, because math.random differs between builds of Lua.
local state = 12345
local function random(n)
  state = (state * 1103515245 + 12345) % 2147483648
  return state // 65536 % n + 1
end

local function hash(text, seed)
  local h = seed or 5381
  for i = 1, #text do
    h = (h * 33 + text:byte(i)) % 4294967296
  end
  return h
end

local work = {}

-- Many short-lived tables of one size, all alive at once per tree.
work[#work + 1] = { "trees", function()
  local function grow(depth)
    if depth == 0 then
      return {}
    end
    return { grow(depth - 1), grow(depth - 1) }
  end
  local function count(tree)
    return tree[1] and 1 + count(tree[1]) + count(tree[2]) or 1
  end
  local keep, total = grow(14), 0
  for _ = 1, 60 do
    total = total + count(grow(10))
  end
  return total + count(keep)
end }

-- Strings of growing length: each step is a new block.
work[#work + 1] = { "strings", function()
  local h = 0
  for i = 1, 400 do
    local text = ""
    for j = 1, 90 do
      text = text .. string.char(97 + (i * j) % 26)
    end
    h = hash(text, h)
  end
  return h
end }

-- Buffers joined into large strings, then taken apart again.
work[#work + 1] = { "words", function()
  local parts = {}
  for i = 1, 20000 do
    parts[i] = ("w%d"):format(random(3000))
  end
  local text, seen, distinct = table.concat(parts, " "), {}, 0
  for word in text:gmatch("%a%d+") do
    if not seen[word] then
      seen[word] = 0
      distinct = distinct + 1
    end
    seen[word] = seen[word] + 1
  end
  local upper = text:gsub("w(%d)", "W<%1>")
  return distinct * 1000000 + hash(upper:sub(1, 5000)) % 1000000
end }

-- Arrays that grow by doubling, and records that are sorted.
work[#work + 1] = { "records", function()
  local records = {}
  for i = 1, 20000 do
    records[i] = { id = i, key = random(1000000), name = "record " .. i, tags = { i % 7, i % 11 } }
  end
  table.sort(records, function(a, b)
    if a.key ~= b.key then
      return a.key < b.key
    end
    return a.id < b.id
  end)
  local h = 0
  for i = 1, #records, 97 do
    h = hash(records[i].name, h)
  end
  return h
end }

-- Closures and coroutines: small blocks of other sizes, and a stack each.
work[#work + 1] = { "closures", function()
  local total = 0
  for i = 1, 3000 do
    local chain = function(x) return x end
    for j = 1, 8 do
      local inner = chain
      chain = function(x) return inner(x) + j end
    end
    total = total + chain(i)
  end
  for i = 1, 1500 do
    local step = coroutine.wrap(function()
      for j = 1, 5 do
        coroutine.yield(i * j)
      end
    end)
    for _ = 1, 5 do
      total = total + step()
    end
  end
  return total
end }

-- A queue whose blocks are freed in another order than they were made, with sizes from 1 to 2000 bytes.
work[#work + 1] = { "queue", function()
  local queue, h = {}, 0
  for i = 1, 30000 do
    local at = random(2000)
    if queue[at] then
      h = (h * 31 + #queue[at]) % 4294967296
    end
    queue[at] = string.rep(string.char(33 + i % 90), random(2000))
  end
  return h
end }

for round = 1, repeats do
  for _, item in ipairs(work) do
    print(("%d %-8s %d"):format(round, item[1], item[2]()))
  end
end
