// Runs a kernel on a CPU, from the very source the GPU gets: each CUDA thread of a block is a
// std::thread, __syncthreads is a std::barrier, the blocks of a grid run one after another.
// What it cannot show: the launch itself, coalescing, anything about time.
#pragma once
#define CPU_EMULATION 1
#include <atomic>
#include <barrier>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static
#define LOAD_ONCE(pointer) (*(pointer))
#define STORE_ONCE(pointer, value) (*(pointer) = (value))

using std::fabs;
using std::fma;
using std::memcpy;

struct Dimensions { unsigned x, y, z; };
inline thread_local Dimensions threadIdx, blockIdx;
inline Dimensions blockDim, gridDim;

struct alignas(16) uint4 { unsigned x, y, z, w; };

struct Warp {
  explicit Warp(unsigned threads) : together(threads) {}
  std::barrier<> together;
  unsigned long long slots[32] = {};
};
inline std::barrier<>* block_together = nullptr;
inline std::vector<std::unique_ptr<Warp>>* block_warps = nullptr;

inline void __syncthreads() { block_together->arrive_and_wait(); }

// Every lane shows a value and sees one of another lane, or its own where that lane is none.
template <typename T> T exchanged(T own, unsigned lane)
{
  static_assert(sizeof(T) <= 8);
  Warp& warp = *(*block_warps)[threadIdx.x / 32];
  unsigned long long bits = 0;
  memcpy(&bits, &own, sizeof own);
  warp.slots[threadIdx.x % 32] = bits;
  warp.together.arrive_and_wait();
  const unsigned long long found = warp.slots[lane < 32 ? lane : threadIdx.x % 32];
  warp.together.arrive_and_wait();
  T other;
  memcpy(&other, &found, sizeof other);
  return other;
}
template <typename T> T __shfl_xor_sync(unsigned, T own, unsigned mask)
{
  return exchanged(own, (threadIdx.x % 32) ^ mask);
}
template <typename T> T __shfl_up_sync(unsigned, T own, unsigned apart)
{
  return exchanged(own, threadIdx.x % 32 - apart);  // wraps to a lane that is none
}
inline unsigned __ballot_sync(unsigned, bool vote)
{
  unsigned votes = 0;
  for (unsigned lane = 0; lane < 32; ++lane)
    votes |= (unsigned)exchanged(vote, lane) << lane;
  return votes;
}

inline unsigned atomicAdd(unsigned* to, unsigned x) { return __atomic_fetch_add(to, x, 5); }
inline unsigned atomicOr(unsigned* to, unsigned x) { return __atomic_fetch_or(to, x, 5); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b)
{
  __extension__ typedef unsigned __int128 u128;
  return (unsigned long long)(((u128)a * b) >> 64);
}
template <typename To, typename From> To reinterpreted(From from)
{
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}
inline unsigned __float_as_uint(float x) { return reinterpreted<unsigned>(x); }
inline float __uint_as_float(unsigned bits) { return reinterpreted<float>(bits); }
inline long long __double_as_longlong(double x) { return reinterpreted<long long>(x); }

// IEEE binary16 in software, so that any C++20 compiler will do.
inline float emulated_half_to_float(unsigned short bits)
{
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  const float size = exponent == 31 ? (fraction ? NAN : INFINITY)
                     : exponent     ? std::ldexp((float)(1024 + fraction), exponent - 25)
                                    : std::ldexp((float)fraction, -24);
  return bits >> 15 ? -size : size;
}
inline unsigned short emulated_double_to_half(double x)
{
  const unsigned short sign = std::signbit(x) ? 0x8000 : 0;
  const double size = fabs(x);
  if (x != x) return 0x7fff;
  if (size >= 65520.0) return sign | 0x7c00;
  const int exponent = size < 0x1p-14 ? -14 : std::ilogb(size);
  // In units of the last place; rounding up to 2048 carries into the exponent by itself.
  const int units = (int)std::nearbyint(std::ldexp(size, 10 - exponent));
  return sign | (unsigned short)(units < 1024 ? units : ((exponent + 15) << 10) + units - 1024);
}
inline unsigned short emulated_float_to_half(float x) { return emulated_double_to_half(x); }

// Runs body once per thread of the grid. Kernels that never wait for each other may do without
// threads of their own.
template <typename Body> void emulate(unsigned grid, unsigned block, bool threads, Body body)
{
  gridDim = {grid, 1, 1};
  blockDim = {block, 1, 1};
  if (!threads) {
    for (unsigned b = 0; b < grid; ++b)
      for (unsigned t = 0; t < block; ++t) {
        blockIdx = {b, 0, 0};
        threadIdx = {t, 0, 0};
        body();
      }
    return;
  }
  std::barrier<> together(block);
  std::vector<std::unique_ptr<Warp>> warps;
  for (unsigned t = 0; t < block; t += 32)
    warps.push_back(std::make_unique<Warp>(block - t < 32 ? block - t : 32));
  block_together = &together;
  block_warps = &warps;
  std::vector<std::thread> running;
  for (unsigned t = 0; t < block; ++t)
    running.emplace_back([&, t] {
      threadIdx = {t, 0, 0};
      for (unsigned b = 0; b < grid; ++b) {
        blockIdx = {b, 0, 0};
        body();
        together.arrive_and_wait();
      }
    });
  for (std::thread& thread : running) thread.join();
}
