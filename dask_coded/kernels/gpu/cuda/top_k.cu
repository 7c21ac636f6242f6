// The k smallest values of each row with their positions, ascending, equal ones by position: radix
// select of the k-th smallest, then a sort of those selected. One block to a tile of a row.
//
// Given by the host: VALUE_T, KEY_T (u32 or u64), CAPACITY (power of two >= k), ARGUMENT_BYTES.
// NaN comes after infinity. Where a row has fewer than k, the rest is infinity at position -1.
struct Arguments {
  const char* values;
  const i64* ids;     // position of each value, -1 for none; null: counted from the row's start
  const i64* starts;  // rows are starts[i] .. starts[i + 1] - 1; null: of n_columns each
  VALUE_T* out_values;
  i64* out_ids;
  i64 n_rows, n_columns, step, tile, n_tiles;  // step: bytes from row to row
  i64 k;
};
static_assert(sizeof(Arguments) == ARGUMENT_BYTES, "host and device must lay arguments out alike");

typedef KEY_T Key;
const Key NONE = ~(Key)0;
const int KEY_BITS = 8 * (int)sizeof(Key);

// Keys in the order of the values: zeros alike, every NaN above infinity and below NONE.
__device__ __forceinline__ u32 ordered(float x)
{
  if (x != x) return 0xff800001u;
  const u32 bits = as_bits(x == 0 ? 0.0f : x);
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}
__device__ __forceinline__ u64 ordered(double x)
{
  if (x != x) return 0xfff0000000000001ull;
  const u64 bits = (u64)__double_as_longlong(x == 0 ? 0.0 : x);
  return bits >> 63 ? ~bits : bits | 0x8000000000000000ull;
}

struct Tile {
  const VALUE_T* values;
  const i64* ids;
  i64 first;  // position of its first value in the row
  int count;
  __device__ __forceinline__ Key key(int i) const
  {
    return ids && ids[i] < 0 ? NONE : ordered(widened(values[i]));
  }
};

__device__ __forceinline__ Tile tile_of(const Arguments& a, i64 item)
{
  const i64 row = item / a.n_tiles, number = item % a.n_tiles;
  i64 start = 0, length = a.n_columns;
  if (a.starts) {
    start = a.starts[row];
    length = a.starts[row + 1] - start;
  }
  const i64 first = number * a.tile < length ? number * a.tile : length;
  const i64 rest = length - first;
  Tile tile;
  const char* values = a.values + (a.starts ? 0 : row * a.step);
  tile.values = (const VALUE_T*)values + start + first;
  tile.ids = a.ids ? a.ids + (a.starts ? 0 : row * a.n_columns) + start + first : 0;
  tile.first = first;
  tile.count = (int)(rest < a.tile ? rest : a.tile);
  return tile;
}

struct Shared {
  u32 histogram[256];
  Key keys[CAPACITY];
  u32 order[CAPACITY];
  u32 warps[32];
  u32 digit, before, equal, taken, tied;
};

// The digit in whose bucket the element of rank `need` lies; by the first warp, eight buckets to a
// lane.
__device__ __forceinline__ void find_digit(Shared& s, u32 need)
{
  if (threadIdx.x >= 32) return;
  const u32 lane = threadIdx.x;
  u32 own = 0;
  for (int b = 0; b < 8; ++b) own += s.histogram[8 * lane + b];
  u32 through = own;
  for (u32 apart = 1; apart < 32; apart *= 2) {
    const u32 lower = __shfl_up_sync(0xffffffffu, through, apart);
    if (lane >= apart) through += lower;
  }
  u32 before = through - own;
  if (before < need && need <= through) {
    int b = 0;
    while (before + s.histogram[8 * lane + b] < need) before += s.histogram[8 * lane + b++];
    s.digit = 8 * lane + b;
    s.before = before;
    s.equal = s.histogram[8 * lane + b];
  }
}

// Ascending by key, then by order.
__device__ __forceinline__ void sort(Shared& s)
{
  for (u32 size = 2; size <= CAPACITY; size *= 2)
    for (u32 apart = size / 2; apart; apart /= 2) {
      for (u32 i = threadIdx.x; i < CAPACITY; i += blockDim.x) {
        const u32 j = i ^ apart;
        if (j > i) {
          const bool above =
              s.keys[i] > s.keys[j] || (s.keys[i] == s.keys[j] && s.order[i] > s.order[j]);
          if (above == !(i & size)) {
            const Key key = s.keys[i];
            s.keys[i] = s.keys[j];
            s.keys[j] = key;
            const u32 order = s.order[i];
            s.order[i] = s.order[j];
            s.order[j] = order;
          }
        }
      }
      __syncthreads();
    }
}

__device__ __forceinline__ void keep(Shared& s, u32 slot, Key key, int i)
{
  s.keys[slot] = key;
  s.order[slot] = (u32)i;
}

// Puts the `wanted` smallest of the tile into the first slots, in any order.
__device__ __forceinline__ void select(Shared& s, const Tile& tile, u32 wanted)
{
  Key prefix = 0, mask = 0;
  u32 need = wanted;
  for (int shift = KEY_BITS - 8; shift >= 0; shift -= 8) {
    for (u32 b = threadIdx.x; b < 256; b += blockDim.x) s.histogram[b] = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < tile.count; i += blockDim.x) {
      const Key key = tile.key(i);
      if ((key & mask) == prefix) atomicAdd(&s.histogram[(u32)(key >> shift) & 255u], 1u);
    }
    __syncthreads();
    find_digit(s, need);
    __syncthreads();
    prefix |= (Key)s.digit << shift;
    mask |= (Key)255 << shift;
    need -= s.before;
    __syncthreads();
  }
  // `need` of the s.equal elements that tie with the last one are taken: those of least position.
  const bool all = s.equal == need;
  if (threadIdx.x == 0) s.taken = s.tied = 0;
  __syncthreads();
  u32 seen = 0;
  for (int base = 0; base < tile.count; base += blockDim.x) {
    const int i = base + threadIdx.x;
    const Key key = i < tile.count ? tile.key(i) : NONE;
    const bool ties = i < tile.count && key == prefix;
    if (i < tile.count && key < prefix) keep(s, atomicAdd(&s.taken, 1u), key, i);
    if (all) {
      if (ties) keep(s, wanted - need + atomicAdd(&s.tied, 1u), key, i);
    } else if (seen < need) {  // the same in all threads
      const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
      const u32 votes = __ballot_sync(0xffffffffu, ties);
      if (lane == 0) s.warps[warp] = (u32)__popc(votes);
      __syncthreads();
      u32 rank = seen + (u32)__popc(votes & ((1u << lane) - 1u));
      for (u32 w = 0; w < blockDim.x / 32; ++w) {
        if (w < warp) rank += s.warps[w];
        seen += s.warps[w];
      }
      if (ties && rank < need) keep(s, wanted - need + rank, key, i);
      __syncthreads();
    }
  }
  __syncthreads();
}

extern "C" __global__ void __launch_bounds__(256, 4) top_k(BY_VALUE Arguments a)
{
  __shared__ Shared s;
  const i64 items = a.n_rows * a.n_tiles;
  for (i64 item = blockIdx.x; item < items; item += gridDim.x) {
    const Tile tile = tile_of(a, item);
    for (u32 i = threadIdx.x; i < CAPACITY; i += blockDim.x) {
      s.keys[i] = NONE;
      s.order[i] = ~0u;
    }
    __syncthreads();
    const u32 wanted = (u32)(a.k < tile.count ? a.k : tile.count);
    if (wanted) select(s, tile, wanted);
    sort(s);
    for (u32 i = threadIdx.x; i < a.k; i += blockDim.x) {
      const bool found = s.keys[i] != NONE;
      const i64 at = found ? (i64)s.order[i] : 0;
      if (found) a.out_values[item * a.k + i] = tile.values[at];
      else narrow(as_float(0x7f800000u), a.out_values[item * a.k + i]);
      a.out_ids[item * a.k + i] = found ? (tile.ids ? tile.ids[at] : tile.first + at) : -1;
    }
    __syncthreads();
  }
}
