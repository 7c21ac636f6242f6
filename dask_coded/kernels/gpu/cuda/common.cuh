// Names that every kernel shares. The dialect is what NVRTC, nvcc and the CPU emulation all take:
// no header is included, so a CuPy wheel compiles it without a CUDA toolkit beside it.
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

#ifndef CPU_EMULATION
#define LOAD_ONCE(pointer) __ldcs(pointer)  // evicted first: every input byte is read once
#define STORE_ONCE(pointer, value) __stcs((pointer), (value))
#endif
// Without it a parameter that is indexed at run time would be copied to local memory.
#if defined(CPU_EMULATION) || (defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 700)
#define BY_VALUE const
#else
#define BY_VALUE const __grid_constant__
#endif

// Storage types that have no arithmetic of their own.
struct Half { u16 bits; };
struct BFloat { u16 bits; };
template <typename T> struct Complex { T re, im; };

__device__ __forceinline__ float as_float(u32 bits) { return __uint_as_float(bits); }
__device__ __forceinline__ u32 as_bits(float x) { return __float_as_uint(x); }

__device__ __forceinline__ float widened(Half h)
{
#ifdef CPU_EMULATION
  return emulated_half_to_float(h.bits);
#else
  float x;
  asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(h.bits));
  return x;
#endif
}
__device__ __forceinline__ float widened(BFloat b) { return as_float((u32)b.bits << 16); }
__device__ __forceinline__ float widened(float x) { return x; }
__device__ __forceinline__ double widened(double x) { return x; }

// Rounding to nearest, ties to even, once: a double is not rounded to float on its way.
__device__ __forceinline__ void narrow(float x, Half& to)
{
#ifdef CPU_EMULATION
  to.bits = emulated_float_to_half(x);
#else
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(to.bits) : "f"(x));
#endif
}
__device__ __forceinline__ void narrow(double x, Half& to)
{
#ifdef CPU_EMULATION
  to.bits = emulated_double_to_half(x);
#else
  asm("cvt.rn.f16.f64 %0, %1;" : "=h"(to.bits) : "d"(x));
#endif
}
__device__ __forceinline__ void narrow(float x, BFloat& to)
{
  u32 bits = as_bits(x);
  bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
  to.bits = (u16)((nan ? (bits | 0x400000u) : bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
__device__ __forceinline__ void narrow(double x, BFloat& to)
{
  float near = (float)x;
  u32 bits = as_bits(near);
  if ((double)near != x) {  // to odd: the digits cut off stay visible to the second rounding
    if (fabs((double)near) > fabs(x)) bits -= 1u;
    bits |= 1u;
  }
  narrow(as_float(bits), to);
}
__device__ __forceinline__ void narrow(float x, float& to) { to = x; }
__device__ __forceinline__ void narrow(double x, float& to) { to = (float)x; }
__device__ __forceinline__ void narrow(float x, double& to) { to = x; }
__device__ __forceinline__ void narrow(double x, double& to) { to = x; }

// One access of 1, 2, 4, 8 or 16 bytes.
template <int BYTES> struct Access;
template <> struct Access<1> { typedef u8 type; };
template <> struct Access<2> { typedef u16 type; };
template <> struct Access<4> { typedef u32 type; };
template <> struct Access<8> { typedef u64 type; };
template <> struct Access<16> { typedef uint4 type; };

// COUNT elements in one access; load and store for data that pass once, fetch for what comes again.
template <typename T, int COUNT>
__device__ __forceinline__ void fetch(const void* from, T (&to)[COUNT])
{
  typedef typename Access<(int)sizeof(T) * COUNT>::type Word;
  Word word = *static_cast<const Word*>(from);
  memcpy(to, &word, sizeof word);
}
template <typename T, int COUNT>
__device__ __forceinline__ void load(const void* from, T (&to)[COUNT])
{
  typedef typename Access<(int)sizeof(T) * COUNT>::type Word;
  Word word = LOAD_ONCE(static_cast<const Word*>(from));
  memcpy(to, &word, sizeof word);
}
template <typename T, int COUNT>
__device__ __forceinline__ void store(void* to, const T (&from)[COUNT])
{
  typedef typename Access<(int)sizeof(T) * COUNT>::type Word;
  Word word;
  memcpy(&word, from, sizeof word);
  STORE_ONCE(static_cast<Word*>(to), word);
}

// The query whose candidates include pair c: those of query i are starts[i] .. starts[i + 1] - 1.
__device__ __forceinline__ i64 owner(const i64* starts, i64 n_queries, i64 c)
{
  i64 low = 0, high = n_queries - 1;
  while (low < high) {
    const i64 middle = (low + high + 1) / 2;
    if (starts[middle] <= c) low = middle;
    else high = middle - 1;
  }
  return low;
}
