// out[c] = <points[rows[c]], queries[owner of c]>, or their squared distance: one warp to a pair.
//
// Given by the host: POINT_T, QUERY_T, SUM_T, WIDTH (elements of one access), SQUARED (1: distance),
// ROW_T, ARGUMENT_BYTES. The candidates of query i are starts[i] .. starts[i + 1] - 1.
struct Arguments {
  const char* points;
  const char* queries;
  const ROW_T* rows;
  const i64* starts;
  SUM_T* out;
  u32* outside;  // set to 1 when a row is none of the points
  i64 n_points, n_queries, n_pairs, n_features;
  i64 point_step, query_step;  // bytes from row to row
};
static_assert(sizeof(Arguments) == ARGUMENT_BYTES, "host and device must lay arguments out alike");

__device__ __forceinline__ SUM_T plus(SUM_T sum, SUM_T x, SUM_T y)
{
#if SQUARED
  const SUM_T apart = x - y;
  return fma(apart, apart, sum);
#else
  return fma(x, y, sum);
#endif
}

extern "C" __global__ void __launch_bounds__(256) candidates(BY_VALUE Arguments a)
{
  const int lane = threadIdx.x % 32;
  const i64 warps = (i64)gridDim.x * (blockDim.x / 32);
  // All lanes of a warp take the same turns, so that every exchange has its 32 partners.
  for (i64 c = (i64)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32; c < a.n_pairs; c += warps) {
    const i64 row = (i64)a.rows[c];
    const bool known = row >= 0 && row < a.n_points;
    SUM_T sum = 0;
    if (known) {
      const char* point = a.points + row * a.point_step;
      const char* query = a.queries + owner(a.starts, a.n_queries, c) * a.query_step;
      const i64 whole = a.n_features / WIDTH * WIDTH;
      for (i64 f = (i64)lane * WIDTH; f < whole; f += 32 * WIDTH) {
        POINT_T x[WIDTH];
        QUERY_T y[WIDTH];
        fetch(point + f * sizeof(POINT_T), x);
        fetch(query + f * sizeof(QUERY_T), y);
#pragma unroll
        for (int e = 0; e < WIDTH; ++e)
          sum = plus(sum, (SUM_T)widened(x[e]), (SUM_T)widened(y[e]));
      }
      for (i64 f = whole + lane; f < a.n_features; f += 32)
        sum = plus(sum, (SUM_T)widened(((const POINT_T*)point)[f]),
                   (SUM_T)widened(((const QUERY_T*)query)[f]));
    }
    for (int apart = 16; apart; apart /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, apart);
    if (lane == 0) {
      a.out[c] = sum;
      if (!known) atomicOr(a.outside, 1u);
    }
  }
}
