// Allocates nothing, so no name in it makes a linker look into libmimalloc-crt.a.
int nothing(int x) { return x; }
