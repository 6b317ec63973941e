#include "decode.h"

// What follows an opcode, a character per opcode:
//
//   .  nothing                            m  ModRM (with what it brings along: SIB, displacement)
//   i  ModRM, 1 byte                      z  ModRM, 2 or 4 bytes (by operand size)
//   1  1 byte                             2  2 bytes            3  2 bytes and 1 byte
//   4  2 or 4 bytes (by operand size)     8  2, 4 or 8 bytes (by operand size)
//   o  an address                         f  a far address; not in 64-bit mode
//   j  branch, 1 byte                     J  branch, 4 bytes
//   x  nothing; not in 64-bit mode        a  1 byte; not in 64-bit mode      y  as i; not in 64-bit mode
//   p  this is a prefix                   #  leads to another table          !  invalid
//   V  VEX or lds, les                    E  EVEX or bound                   X  XOP or pop
//   g  ModRM; test has 1 byte more        G  ModRM; test has 2 or 4 bytes more
//   c  ModRM that always means registers  q  ModRM; SSE4a has 2 bytes more   s  ModRM, with prefix F3 only
// clang-format off
static const char one_byte[256 + 1] =
    "mmmm14xxmmmm14x#" // 0
    "mmmm14xxmmmm14xx"
    "mmmm14pxmmmm14px"
    "mmmm14pxmmmm14px"
    "................" // 4: in 64-bit mode prefixes (REX), sorted out before
    "................"
    "xxEmpppp4z1i...."
    "jjjjjjjjjjjjjjjj"
    "izyimmmmmmmmmmmX" // 8
    "..........f....."
    "oooo....14......"
    "1111111188888888"
    "ii2.VViz3.2..1x." // C
    "mmmmaax.mmmmmmmm"
    "jjjj1111JJfj...."
    "p.pp..gG......mm";

static const char two_byte[256 + 1] = // after 0F
    "mmmm!.....!.!m.i" // 0
    "mmmmmmmmmmmmmmmm"
    "cccc!!!!mmmmmmmm"
    "......!.#!#!!!!!"
    "mmmmmmmmmmmmmmmm" // 4
    "mmmmmmmmmmmmmmmm"
    "mmmmmmmmmmmmmmmm"
    "iiiimmm.qm!!mmmm"
    "JJJJJJJJJJJJJJJJ" // 8
    "mmmmmmmmmmmmmmmm"
    "...mimmm...mimmm"
    "mmmmmmmmsmimmmmm"
    "mmimiiim........" // C
    "mmmmmmmmmmmmmmmm"
    "mmmmmmmmmmmmmmmm"
    "mmmmmmmmmmmmmmmm";
// clang-format on

#define PREFIX_OPERAND_SIZE 0x66
#define PREFIX_ADDRESS_SIZE 0x67
#define PREFIX_REPNE        0xF2
#define PREFIX_REP          0xF3
#define PREFIX_LOCK         0xF0

typedef struct reader_s {
  const uint8_t* code;
  size_t at, end; // end: of what may be read
  bool is_64;
  bool has_66, has_67, has_f2, has_f3, has_f0;
  uint8_t rex; // 0: none
} reader_t;

static bool take(reader_t* r, uint8_t* byte) {
  if (r->at >= r->end) return false;
  *byte = r->code[r->at++];
  return true;
}

static bool peek(const reader_t* r, uint8_t* byte) {
  if (r->at >= r->end) return false;
  *byte = r->code[r->at];
  return true;
}

static bool skip(reader_t* r, size_t count) {
  if (r->end - r->at < count) return false;
  r->at += count;
  return true;
}

// False: no opcode follows, or a REX prefix isn't the last one (then it has no effect, which nobody writes).
static bool take_prefixes(reader_t* r, uint8_t* opcode) {
  for (;;) {
    if (!take(r, opcode)) return false;
    if (r->is_64 && (*opcode & 0xF0) == 0x40) {
      r->rex = *opcode;
      return take(r, opcode) && !(one_byte[*opcode] == 'p' || (*opcode & 0xF0) == 0x40);
    }
    if (one_byte[*opcode] != 'p') return true;
    // clang-format off
    switch (*opcode) {
    case PREFIX_OPERAND_SIZE: r->has_66 = true; break;
    case PREFIX_ADDRESS_SIZE: r->has_67 = true; break;
    case PREFIX_REPNE:        r->has_f2 = true; break;
    case PREFIX_REP:          r->has_f3 = true; break;
    case PREFIX_LOCK:         r->has_f0 = true; break;
    default:                  break; // segments
    }
    // clang-format on
  }
}

// ModRM, SIB and displacement.
static bool take_operand(reader_t* r, bool always_registers, uint8_t* modrm, instruction_t* out) {
  uint8_t sib = 0;
  if (!take(r, modrm)) return false;
  unsigned mod = *modrm >> 6, rm = *modrm & 7;
  if (mod == 3 || always_registers) return true;
  if (r->has_67 && !r->is_64) { // 16-bit addressing
    return skip(r, mod == 1 ? 1 : mod == 2 || rm == 6 ? 2 : 0);
  }
  if (rm == 4 && !take(r, &sib)) return false;
  if (mod == 1) return skip(r, 1);
  if (mod == 2) return skip(r, 4);
  if (rm == 4) return (sib & 7) != 5 || skip(r, 4);
  if (rm != 5) return true;
  if (r->is_64) {
    if (r->has_67) return false; // relative to eip
    out->rip_offset = (uint8_t)r->at;
  }
  return skip(r, 4);
}

static size_t operand_size(const reader_t* r) { return r->has_66 && !(r->rex & 8) ? 2 : 4; }

// A branch's displacement.
static bool take_target(reader_t* r, size_t size, instruction_t* out) {
  if (r->has_66) return false;
  out->target_offset = (uint8_t)r->at;
  out->target_size = (uint8_t)size;
  return skip(r, size);
}

// An instruction with a VEX, EVEX or XOP prefix, from its opcode on.
static bool take_vector(reader_t* r, bool is_evex, unsigned map, instruction_t* out) {
  uint8_t modrm;
  if (r->has_66 || r->has_f2 || r->has_f3 || r->has_f0 || r->rex != 0 || !take(r, &out->opcode)) return false;
  if (map == 1 && out->opcode == 0x77 && !is_evex) return true; // vzeroupper, vzeroall
  if (!take_operand(r, false, &modrm, out)) return false;
  // clang-format off
  switch (map) {
  case 1:  return two_byte[out->opcode] != 'i' || skip(r, 1);
  case 2:  return true;
  case 3:  return skip(r, 1);
  case 5:
  case 6:  return is_evex;
  case 8:  return skip(r, 1); // 8 to 10: XOP
  case 9:  return true;
  case 10: return skip(r, 4);
  default: return false;
  }
  // clang-format on
}

static bool take_vex(reader_t* r, uint8_t prefix, instruction_t* out) {
  uint8_t byte, modrm;
  if (!peek(r, &byte)) return false;
  if (!r->is_64 && byte < 0xC0) return take_operand(r, false, &modrm, out); // lds, les
  r->at++;
  unsigned map = 1;
  if (prefix == 0xC4) {
    map = byte & 31;
    if (map < 1 || map > 3 || !skip(r, 1)) return false;
  }
  return take_vector(r, false, map, out);
}

static bool take_evex(reader_t* r, instruction_t* out) {
  uint8_t byte, modrm, second;
  if (!peek(r, &byte)) return false;
  if (!r->is_64 && byte < 0xC0) return take_operand(r, false, &modrm, out); // bound
  r->at++;
  unsigned map = byte & 7;
  if ((byte & 8) != 0 || map < 1 || map == 4 || map > 6) return false;
  if (!take(r, &second) || !(second & 4) || !skip(r, 1)) return false;
  return take_vector(r, true, map, out);
}

static bool take_xop(reader_t* r, instruction_t* out) {
  uint8_t byte, modrm;
  if (!peek(r, &byte)) return false;
  if ((byte & 31) < 8) return (byte & 0x38) == 0 && take_operand(r, false, &modrm, out); // pop
  r->at++;
  unsigned map = byte & 31;
  return map <= 10 && skip(r, 1) && take_vector(r, false, map, out);
}

// clang-format off
static bool take_rest(reader_t* r, char what, instruction_t* out) {
  uint8_t modrm = 0;
  size_t word = operand_size(r), address = r->is_64 ? (r->has_67 ? 4 : 8) : (r->has_67 ? 2 : 4);
  switch (what) {
  case '.': return true;
  case 'm': return take_operand(r, false, &modrm, out);
  case 'i': return take_operand(r, false, &modrm, out) && skip(r, 1);
  case 'z': return take_operand(r, false, &modrm, out) && skip(r, word);
  case '1': return skip(r, 1);
  case '2': return skip(r, 2);
  case '3': return skip(r, 3);
  case '4': return skip(r, word);
  case '8': return skip(r, r->rex & 8 ? 8 : word);
  case 'o': return skip(r, address);
  case 'f': return !r->is_64 && skip(r, word + 2);
  case 'j': return take_target(r, 1, out);
  case 'J': return take_target(r, 4, out);
  case 'x': return !r->is_64;
  case 'a': return !r->is_64 && skip(r, 1);
  case 'y': return !r->is_64 && take_operand(r, false, &modrm, out) && skip(r, 1);
  case 'V': return take_vex(r, out->opcode, out);
  case 'E': return take_evex(r, out);
  case 'X': return take_xop(r, out);
  case 'g': return take_operand(r, false, &modrm, out) && ((modrm & 0x30) != 0 || skip(r, 1));
  case 'G': return take_operand(r, false, &modrm, out) && ((modrm & 0x30) != 0 || skip(r, word));
  case 'c': return take_operand(r, true, &modrm, out);
  case 'q': return take_operand(r, false, &modrm, out) && (!(r->has_66 || r->has_f2) || skip(r, 2));
  case 's': return r->has_f3 && take_operand(r, false, &modrm, out);
  default:  return false;
  }
}

static instruction_kind_t kind_in_one_byte(uint8_t opcode, uint8_t modrm) {
  switch (opcode) {
  case 0xE8: return INSTRUCTION_CALL;
  case 0x9A: return INSTRUCTION_CALL_INDIRECT;
  case 0xE9:
  case 0xEB: return INSTRUCTION_JUMP;
  case 0xEA: return INSTRUCTION_JUMP_INDIRECT;
  case 0xE0:
  case 0xE1:
  case 0xE2:
  case 0xE3: return INSTRUCTION_LOOP;
  case 0xC2:
  case 0xC3:
  case 0xCA:
  case 0xCB:
  case 0xCF: return INSTRUCTION_RETURN;
  case 0xCC:
  case 0xCD:
  case 0xF1:
  case 0xF4: return INSTRUCTION_TRAP;
  case 0xFF:
    switch (modrm >> 3 & 7) {
    case 2:
    case 3:  return INSTRUCTION_CALL_INDIRECT;
    case 4:
    case 5:  return INSTRUCTION_JUMP_INDIRECT;
    default: return INSTRUCTION_PLAIN;
    }
  default: return (opcode & 0xF0) == 0x70 ? INSTRUCTION_JUMP_IF : INSTRUCTION_PLAIN;
  }
}

// clang-format on

// The operand comes straight after the opcode, so these can be told from both.
static bool is_refused(uint8_t opcode, uint8_t modrm) {
  if (opcode == 0xC7) return modrm == 0xF8 || (modrm & 0x38) != 0; // xbegin, which branches; undefined
  if (opcode == 0xC6) return modrm != 0xF8 && (modrm & 0x38) != 0; // undefined, but for xabort
  if (opcode == 0xFE) return (modrm & 0x38) > 0x08;                // undefined
  if (opcode == 0xFF) {
    unsigned far = modrm >> 3 & 7;
    return far == 7 || ((far == 3 || far == 5) && modrm >= 0xC0); // undefined; far branches take memory
  }
  return false;
}

bool decode(const uint8_t* code, size_t available, bool is_64, instruction_t* instruction) {
  reader_t r = {
      .code = code, .end = available < INSTRUCTION_MAX ? available : INSTRUCTION_MAX, .is_64 = is_64};
  instruction_t out = {.kind = INSTRUCTION_PLAIN};
  uint8_t opcode, modrm = 0;
  if (!take_prefixes(&r, &opcode)) return false;
  out.opcode = opcode;
  char what = one_byte[opcode];
  if (what != '#') {
    peek(&r, &modrm);
    if (is_refused(opcode, modrm) || !take_rest(&r, what, &out)) return false;
    // A vector instruction's opcode is another one, behind the prefix.
    if (what != 'V' && what != 'E' && what != 'X') out.kind = (uint8_t)kind_in_one_byte(opcode, modrm);
  } else {
    if (!take(&r, &opcode)) return false;
    what = two_byte[opcode];
    if (what == '#') {
      what = opcode == 0x38 ? 'm' : 'i';
      if (!take(&r, &out.opcode)) return false;
    } else {
      out.opcode = opcode;
      if (opcode == 0x0B) out.kind = INSTRUCTION_TRAP;
      if (what == 'J') out.kind = INSTRUCTION_JUMP_IF;
    }
    if (!take_rest(&r, what, &out)) return false;
  }
  out.length = (uint8_t)r.at;
  *instruction = out;
  return true;
}

int64_t decode_target(const uint8_t* code, const instruction_t* instruction) {
  const uint8_t* at = code + instruction->target_offset;
  int32_t relative =
      instruction->target_size == 1
          ? (int8_t)at[0]
          : (int32_t)((uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24);
  return (int64_t)relative + instruction->length;
}
