-- Work for the Lua interpreter. Does half, waits for a line of input, does the other half with what the first has left.
-- With a DLL's path as argument, the interpreter loads that in the middle itself. The output depends on nothing else.

local kept = {}

local function hash(text, h)
  for i = 1, #text do
    h = (h * 33 + text:byte(i)) % 4294967296
  end
  return h
end

local function work(round)
  local h = round
  for i = 1, 600 do
    kept[i] = (kept[i] or "") .. ("%d/%d "):format(round, i * 7919 % 601)
    h = hash(kept[i], h)
  end
  for i = 1, 80 do
    local t = {}
    for j = 1, i % 40 do
      t[j] = { i, j, tostring(i * j) }
    end
    table.sort(t, function(a, b) return a[3] < b[3] end)
    h = (h * 31 + #t) % 4294967296
  end
  local large = table.concat(kept, ",")
  local replaced, count = large:gsub("%d+/", "<%0>")
  print(("round %d: %d %d %d %d"):format(round, h, #large, #replaced, count))
end

work(1)
io.stdout:flush()
print("read: " .. tostring(io.read()))
if arg[1] then
  assert(package.loadlib(arg[1], "*"))
end
work(2)
