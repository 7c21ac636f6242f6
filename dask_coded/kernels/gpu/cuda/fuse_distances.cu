// out[c] = max(0, |point|^2 + |query|^2 - 2 * sum over s of weights[s] * partial[s][c]): partial
// inner products of a coded index become squared distances. Each partial result is read once.
//
// Given by the host: INPUTS (0: pointers and weights in device memory), IN_T, OUT_T, ROW_T,
// ARGUMENT_BYTES. The candidates of query i are starts[i] .. starts[i + 1] - 1.
struct Arguments {
#if INPUTS
  const IN_T* in[INPUTS];
  double weights[INPUTS];
#else
  const IN_T* const* in;
  const double* weights;
#endif
  i64 inputs;
  const ROW_T* rows;
  const i64* starts;
  const double* point_norms;
  const double* query_norms;
  OUT_T* out;
  u32* outside;  // set to 1 when a row is none of the points
  i64 n_points, n_queries, n_pairs;
};
static_assert(sizeof(Arguments) == ARGUMENT_BYTES, "host and device must lay arguments out alike");

extern "C" __global__ void __launch_bounds__(256) fuse_distances(BY_VALUE Arguments a)
{
  const i64 threads = (i64)gridDim.x * blockDim.x;
  for (i64 c = (i64)blockIdx.x * blockDim.x + threadIdx.x; c < a.n_pairs; c += threads) {
    double product = 0;
#if INPUTS
#pragma unroll
    for (int s = 0; s < INPUTS; ++s)
#else
#pragma unroll 8
    for (i64 s = 0; s < a.inputs; ++s)
#endif
    {
      IN_T x[1];
      load(a.in[s] + c, x);
      product = fma(a.weights[s], (double)widened(x[0]), product);
    }
    const i64 row = (i64)a.rows[c];
    if (row < 0 || row >= a.n_points) {
      atomicOr(a.outside, 1u);
      continue;
    }
    const double squared =
        a.point_norms[row] + a.query_norms[owner(a.starts, a.n_queries, c)] - 2 * product;
    OUT_T done[1];
    // Written so that NaN stays NaN.
    narrow(squared < 0 ? 0.0 : squared, done[0]);
    store(a.out + c, done);
  }
}
