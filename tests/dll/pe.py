"""Reads what the tests ask of a PE file (PE32 or PE32+): imports, exports, directories, version resource."""
import struct

EXPORT, IMPORT, RESOURCE, TLS = 0, 1, 2, 9  # indices of the data directory
VERSION_RESOURCE = 16
ARM64 = 0xAA64  # a machine's number


class PE:
    def __init__(self, path):
        self.path = path
        with open(path, "rb") as file:
            self.data = file.read()
        if self.data[:2] != b"MZ":
            raise ValueError(f"{path}: not a PE file")
        pe = self.u32(0x3C)
        if self.data[pe:pe + 4] != b"PE\0\0":
            raise ValueError(f"{path}: not a PE file")
        self.machine = self.u16(pe + 4)
        sections, optional_size = self.u16(pe + 6), self.u16(pe + 20)
        optional = pe + 24
        self.is_64 = self.u16(optional) == 0x20B
        self.linker_major = self.data[optional + 2]  # 2: GNU ld; 14: lld
        self.entry = self.u32(optional + 16)
        directories = optional + (112 if self.is_64 else 96)
        count = self.u32(directories - 4)
        self.directories = [struct.unpack_from("<II", self.data, directories + 8 * i) for i in range(count)]
        self.sections = []  # (name, address, size, file offset)
        for i in range(sections):
            at = optional + optional_size + 40 * i
            name = self.data[at:at + 8].rstrip(b"\0").decode()
            virtual_size, address, raw_size, raw = struct.unpack_from("<IIII", self.data, at + 8)
            self.sections.append((name, address, max(virtual_size, raw_size), raw))

    def u16(self, at):
        return struct.unpack_from("<H", self.data, at)[0]

    def u32(self, at):
        return struct.unpack_from("<I", self.data, at)[0]

    def offset(self, address):
        for _, start, size, raw in self.sections:
            if start <= address < start + size:
                return address - start + raw
        raise ValueError(f"{self.path}: address {address:#x} is in no section")

    def text(self, address):
        at = self.offset(address)
        return self.data[at:self.data.index(b"\0", at)].decode()

    def has(self, directory):
        return directory < len(self.directories) and self.directories[directory][0] != 0

    def imports(self):
        """{DLL: [names]}, as spelled in the file; an import by number is '#7'. Two tables of a DLL are joined."""
        result = {}
        if not self.has(IMPORT):
            return result
        at = self.offset(self.directories[IMPORT][0])
        while True:
            lookup, _, _, name, address_table = struct.unpack_from("<IIIII", self.data, at)
            if name == 0:
                return result
            names = result.setdefault(self.text(name), [])
            size = 8 if self.is_64 else 4
            slot = self.offset(lookup or address_table)
            while True:
                value = int.from_bytes(self.data[slot:slot + size], "little")
                if value == 0:
                    break
                names.append(f"#{value & 0xFFFF}" if value >> (size * 8 - 1) else self.text(value + 2))
                slot += size
            at += 20

    def exports(self):
        """Names in the order of the file."""
        if not self.has(EXPORT):
            return []
        at = self.offset(self.directories[EXPORT][0])
        count, names = self.u32(at + 24), self.offset(self.u32(at + 32))
        return [self.text(self.u32(names + 4 * i)) for i in range(count)]

    def version_strings(self):
        """The version resource's strings, {key: value}; {} when there is none."""
        if not self.has(RESOURCE):
            return {}
        root = self.offset(self.directories[RESOURCE][0])

        def first(directory, wanted=None):
            named, numbered = self.u16(directory + 12), self.u16(directory + 14)
            for i in range(named + numbered):
                entry = directory + 16 + 8 * i
                if wanted is None or self.u32(entry) == wanted:
                    return root + (self.u32(entry + 4) & 0x7FFFFFFF)
            return None

        kind = first(root, VERSION_RESOURCE)
        if kind is None:
            return {}
        data = first(first(kind))
        at, size = self.offset(self.u32(data)), self.u32(data + 4)
        result = {}

        def walk(start, end):  # a tree of records: length, value length, type, UTF-16 key, value, children
            while start + 6 <= end:
                length, value_length, is_text = struct.unpack_from("<HHH", self.data, start)
                if length == 0:
                    return
                key_end = start + 6
                while self.u16(key_end) != 0:
                    key_end += 2
                key = self.data[start + 6:key_end].decode("utf-16-le")
                value = at + ((key_end + 2 - at + 3) & ~3)
                value_end = value + value_length * (2 if is_text else 1)
                if is_text and value_length:
                    result[key] = self.data[value:value_end].decode("utf-16-le").rstrip("\0")
                walk(at + ((value_end - at + 3) & ~3), start + length)
                start = at + ((start + length - at + 3) & ~3)

        walk(at, at + size)
        return result
