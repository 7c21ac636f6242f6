// out[q] = sum over l of weights[q, l] * in[l], for blocks that lie anywhere: encode and decode.
//
// Given by the host for each specialisation:
//   INPUTS      blocks, whose pointers and weights travel by value; 0: a table in device memory
//   OUTPUTS     sums made at once; every input is read once for all of them
//   ARITHMETIC, IN_T, OUT_T   see arithmetic.cuh
//   WIDTH       elements of one access
//   DIMS        0: contiguous; n: any strides in n dimensions, and WIDTH is 1
//   MASKED      1: elements of weight zero are not looked at, so that their NaN does not count
//   HELD        1: inputs stay in registers and outputs stream; 0: the other way round
//   ROLLED      1: batches of inputs, or outputs where inputs are held, are a loop: code that is
//               written out any further takes seconds to compile, and registers
//   BOUNDS      threads of a block, and blocks that must fit a multiprocessor if that is said
//   ARGUMENT_BYTES   what the host takes sizeof(Arguments) for
typedef ARITHMETIC A;
typedef A::Weight Weight;
typedef A::Sum Sum;
typedef IN_T In;
typedef OUT_T Out;
#define BATCH 8

struct Arguments {
#if INPUTS
  const char* in[INPUTS];
#else
  const char* const* in;
  const Weight* weights;  // [input][output]
  i64 inputs;
#endif
  char* out[OUTPUTS];
  i64 length;
  Modulus modulus;
  u32* outside;  // set to 1 when an element is no residue
#if DIMS
  i64 shape[DIMS];
  i64 steps[(INPUTS + OUTPUTS) * DIMS];  // bytes
#endif
#if INPUTS
  Weight weights[INPUTS * OUTPUTS];  // [input][output]
#endif
};
static_assert(sizeof(Arguments) == ARGUMENT_BYTES, "host and device must lay arguments out alike");

// Where the elements from `start` on lie in each array.
struct Place {
#if DIMS
  i64 index[DIMS];
  __device__ __forceinline__ Place(const Arguments& a, i64 start)
  {
    for (int axis = DIMS - 1; axis >= 0; --axis) {
      // A device divides 32 bits in fewer instructions than 64, and most arrays are that small.
      if (((u64)start | (u64)a.shape[axis]) >> 32) {
        index[axis] = start % a.shape[axis];
        start /= a.shape[axis];
      } else {
        index[axis] = (u32)start % (u32)a.shape[axis];
        start = (u32)start / (u32)a.shape[axis];
      }
    }
  }
  __device__ __forceinline__ i64 offset(const Arguments& a, int array, i64) const
  {
    i64 bytes = 0;
    for (int axis = 0; axis < DIMS; ++axis) bytes += index[axis] * a.steps[array * DIMS + axis];
    return bytes;
  }
#else
  i64 start;
  __device__ __forceinline__ Place(const Arguments&, i64 first) : start(first) {}
  __device__ __forceinline__ i64 offset(const Arguments&, int, i64 itemsize) const
  {
    return start * itemsize;
  }
#endif
  __device__ __forceinline__ const char* input(const Arguments& a, int l) const
  {
    return a.in[l] + offset(a, l, sizeof(In));
  }
  __device__ __forceinline__ char* output(const Arguments& a, int q) const
  {
    return a.out[q] + offset(a, INPUTS + q, sizeof(Out));
  }
};

template <int COUNT>
__device__ __forceinline__ void
write(const Arguments& a, const Place& place, int q, const Sum (&sums)[COUNT])
{
  Out done[COUNT];
#pragma unroll
  for (int e = 0; e < COUNT; ++e) A::finish(sums[e], a.modulus, done[e]);
  store(place.output(a, q), done);
}

// Adds inputs first .. first + MANY - 1. All of them are asked for before any is waited for.
template <int MANY, int COUNT>
__device__ __forceinline__ void add_batch(const Arguments& a, const Place& place, int first,
                                          Sum (&sums)[OUTPUTS][COUNT], bool& outside)
{
  In raw[MANY][COUNT];
#pragma unroll
  for (int b = 0; b < MANY; ++b) load(place.input(a, first + b), raw[b]);
#pragma unroll
  for (int b = 0; b < MANY; ++b) {
    decltype(A::taken(raw[0][0], a.modulus, outside)) x[COUNT];
#pragma unroll
    for (int e = 0; e < COUNT; ++e) x[e] = A::taken(raw[b][e], a.modulus, outside);
#pragma unroll
    for (int q = 0; q < OUTPUTS; ++q) {
      const Weight w = a.weights[(first + b) * OUTPUTS + q];
      if (!MASKED || A::nonzero(w)) {
#pragma unroll
        for (int e = 0; e < COUNT; ++e) A::add(sums[q][e], w, x[e]);
      }
    }
  }
#pragma unroll
  for (int q = 0; q < OUTPUTS; ++q)
#pragma unroll
    for (int e = 0; e < COUNT; ++e) A::settle(sums[q][e], a.modulus);
}

template <int COUNT>
__device__ __forceinline__ void combine_at(const Arguments& a, i64 start, bool& outside)
{
  const Place place(a, start);
#if HELD
  In raw[INPUTS][COUNT];
#pragma unroll
  for (int l = 0; l < INPUTS; ++l) load(place.input(a, l), raw[l]);
#if ROLLED
#pragma unroll 1
#else
#pragma unroll
#endif
  for (int q = 0; q < OUTPUTS; ++q) {
    Sum sums[COUNT];
#pragma unroll
    for (int e = 0; e < COUNT; ++e) A::clear(sums[e]);
#pragma unroll
    for (int l = 0; l < INPUTS; ++l) {
      const Weight w = a.weights[l * OUTPUTS + q];
      if (!MASKED || A::nonzero(w)) {
#pragma unroll
        for (int e = 0; e < COUNT; ++e)
          A::add(sums[e], w, A::taken(raw[l][e], a.modulus, outside));
      }
    }
    write(a, place, q, sums);
  }
#else
  Sum sums[OUTPUTS][COUNT];
#pragma unroll
  for (int q = 0; q < OUTPUTS; ++q)
#pragma unroll
    for (int e = 0; e < COUNT; ++e) A::clear(sums[q][e]);
#if INPUTS == 0
  i64 l = 0;
  for (; l + BATCH <= a.inputs; l += BATCH)
    add_batch<BATCH>(a, place, (int)l, sums, outside);
  for (; l < a.inputs; ++l) add_batch<1>(a, place, (int)l, sums, outside);
#else
#if ROLLED
#pragma unroll 1
#else
#pragma unroll
#endif
  for (int l = 0; l < INPUTS / BATCH * BATCH; l += BATCH)
    add_batch<BATCH>(a, place, l, sums, outside);
#if INPUTS % BATCH
  add_batch<INPUTS % BATCH>(a, place, INPUTS / BATCH * BATCH, sums, outside);
#endif
#endif
#pragma unroll
  for (int q = 0; q < OUTPUTS; ++q) write(a, place, q, sums[q]);
#endif
}

extern "C" __global__ void __launch_bounds__(BOUNDS) combine(BY_VALUE Arguments a)
{
  bool outside = false;
  const i64 threads = (i64)gridDim.x * blockDim.x;
  const i64 first = (i64)blockIdx.x * blockDim.x + threadIdx.x;
  const i64 whole = a.length / WIDTH;
  for (i64 i = first; i < whole; i += threads) combine_at<WIDTH>(a, i * WIDTH, outside);
#if WIDTH > 1
  for (i64 i = whole * WIDTH + first; i < a.length; i += threads) combine_at<1>(a, i, outside);
#endif
  if (outside) atomicOr(a.outside, 1u);
}
