// In which numbers a sum is taken. Each arithmetic says what a weight, an element and a sum are:
//   taken(element, modulus, outside)  the element as it is multiplied; notes what is no residue
//   clear, add, finish                sum = 0; sum += weight * element; sum -> output element
//   settle                            after every eight or fewer terms: keeps a sum in its range
// Modulus holds what a prime needs at run time; the others do not look at it.
struct Modulus { u64 p, inverse; };  // inverse: -1/p modulo 2^64

template <typename S> struct Real {
  typedef S Weight;
  typedef S Sum;
  static __device__ __forceinline__ bool nonzero(Weight w) { return w != 0; }
  static __device__ __forceinline__ void settle(Sum&, const Modulus&) {}
  static __device__ __forceinline__ void clear(Sum& sum) { sum = 0; }
  template <typename In>
  static __device__ __forceinline__ S taken(In x, const Modulus&, bool&) { return (S)widened(x); }
  static __device__ __forceinline__ void add(Sum& sum, Weight w, S x) { sum = fma(w, x, sum); }
  template <typename Out>
  static __device__ __forceinline__ void finish(Sum sum, const Modulus&, Out& to)
  {
    narrow(sum, to);
  }
};

// Complex weights on complex or real elements.
template <typename S> struct Cartesian {
  typedef Complex<S> Weight;
  typedef Complex<S> Sum;
  static __device__ __forceinline__ bool nonzero(Weight w) { return w.re != 0 || w.im != 0; }
  static __device__ __forceinline__ void settle(Sum&, const Modulus&) {}
  static __device__ __forceinline__ void clear(Sum& sum) { sum.re = 0; sum.im = 0; }
  template <typename In>
  static __device__ __forceinline__ S taken(In x, const Modulus&, bool&) { return (S)widened(x); }
  template <typename P>
  static __device__ __forceinline__ Complex<S> taken(Complex<P> x, const Modulus&, bool&)
  {
    Complex<S> wide;
    wide.re = (S)x.re;
    wide.im = (S)x.im;
    return wide;
  }
  static __device__ __forceinline__ void add(Sum& sum, Weight w, S x)
  {
    sum.re = fma(w.re, x, sum.re);
    sum.im = fma(w.im, x, sum.im);
  }
  static __device__ __forceinline__ void add(Sum& sum, Weight w, Complex<S> x)
  {
    sum.re = fma(-w.im, x.im, fma(w.re, x.re, sum.re));
    sum.im = fma(w.im, x.re, fma(w.re, x.im, sum.im));
  }
  template <typename P>
  static __device__ __forceinline__ void finish(Sum sum, const Modulus&, Complex<P>& to)
  {
    narrow(sum.re, to.re);
    narrow(sum.im, to.im);
  }
};

// Real weights on elements that are or become complex: both parts alike, and neither sees the other's NaN.
template <typename S> struct Scaled {
  typedef S Weight;
  typedef Complex<S> Sum;
  static __device__ __forceinline__ bool nonzero(Weight w) { return w != 0; }
  static __device__ __forceinline__ void settle(Sum&, const Modulus&) {}
  static __device__ __forceinline__ void clear(Sum& sum) { sum.re = 0; sum.im = 0; }
  template <typename In>
  static __device__ __forceinline__ S taken(In x, const Modulus&, bool&) { return (S)widened(x); }
  template <typename P>
  static __device__ __forceinline__ Complex<S> taken(Complex<P> x, const Modulus&, bool&)
  {
    Complex<S> wide;
    wide.re = (S)x.re;
    wide.im = (S)x.im;
    return wide;
  }
  static __device__ __forceinline__ void add(Sum& sum, Weight w, S x)
  {
    sum.re = fma(w, x, sum.re);
  }
  static __device__ __forceinline__ void add(Sum& sum, Weight w, Complex<S> x)
  {
    sum.re = fma(w, x.re, sum.re);
    sum.im = fma(w, x.im, sum.im);
  }
  template <typename P>
  static __device__ __forceinline__ void finish(Sum sum, const Modulus&, Complex<P>& to)
  {
    narrow(sum.re, to.re);
    narrow(sum.im, to.im);
  }
};

// Integers modulo 2^bits: S is wide enough, and its low bits are the output.
template <typename S> struct Wrapping {
  typedef S Weight;
  typedef S Sum;
  static __device__ __forceinline__ bool nonzero(Weight w) { return w != 0; }
  static __device__ __forceinline__ void settle(Sum&, const Modulus&) {}
  static __device__ __forceinline__ void clear(Sum& sum) { sum = 0; }
  template <typename In>
  static __device__ __forceinline__ S taken(In x, const Modulus&, bool&) { return (S)x; }
  static __device__ __forceinline__ void add(Sum& sum, Weight w, S x) { sum += w * x; }
  template <typename Out>
  static __device__ __forceinline__ void finish(Sum sum, const Modulus&, Out& to)
  {
    to = (Out)sum;
  }
};

// Booleans, modulo 2: bytes that are 0 or 1.
struct Parity {
  typedef u32 Weight;
  typedef u32 Sum;
  static __device__ __forceinline__ bool nonzero(Weight w) { return w != 0; }
  static __device__ __forceinline__ void settle(Sum&, const Modulus&) {}
  static __device__ __forceinline__ void clear(Sum& sum) { sum = 0; }
  static __device__ __forceinline__ u32 taken(u8 x, const Modulus&, bool&) { return x; }
  static __device__ __forceinline__ void add(Sum& sum, Weight w, u32 x) { sum ^= w & x; }
  static __device__ __forceinline__ void finish(Sum sum, const Modulus&, u8& to) { to = (u8)sum; }
};

// p = 2^31 - 1. A product is below 2^62; its two 31-bit halves add up to less than 2^32, so 2^32
// terms fit and only the end reduces.
struct Mersenne31 {
  typedef u32 Weight;
  typedef u64 Sum;
  static __device__ __forceinline__ bool nonzero(Weight w) { return w != 0; }
  static __device__ __forceinline__ void settle(Sum&, const Modulus&) {}
  static __device__ __forceinline__ void clear(Sum& sum) { sum = 0; }
  template <typename In>
  static __device__ __forceinline__ u32 taken(In x, const Modulus&, bool& outside)
  {
    outside |= x >= (In)0x7fffffff;
    return (u32)x;
  }
  static __device__ __forceinline__ u64 folded(u64 x) { return (x & 0x7fffffffull) + (x >> 31); }
  static __device__ __forceinline__ void add(Sum& sum, Weight w, u32 x)
  {
    sum += folded((u64)w * x);
  }
  template <typename Out>
  static __device__ __forceinline__ void finish(Sum sum, const Modulus&, Out& to)
  {
    u64 rest = folded(folded(sum));
    to = (Out)(rest >= 0x7fffffffull ? rest - 0x7fffffffull : rest);
  }
};

struct Words { u64 low, high; };

// Any odd p < 2^61, after Montgomery: weights come multiplied by 2^64 modulo p, and one division by
// 2^64 at the end takes the factor away again. Eight terms add less than p 2^64, and taking p off
// the high word takes a multiple of p off the sum: settled, the high word is below p.
struct Montgomery {
  typedef u64 Weight;
  typedef Words Sum;
  static __device__ __forceinline__ bool nonzero(Weight w) { return w != 0; }
  static __device__ __forceinline__ void clear(Sum& sum) { sum.low = 0; sum.high = 0; }
  static __device__ __forceinline__ void settle(Sum& sum, const Modulus& m)
  {
    if (sum.high >= m.p) sum.high -= m.p;
  }
  static __device__ __forceinline__ u64 taken(u64 x, const Modulus& m, bool& outside)
  {
    outside |= x >= m.p;
    return x;
  }
  static __device__ __forceinline__ void add(Sum& sum, Weight w, u64 x)
  {
    u64 low = w * x;
    sum.low += low;
    sum.high += __umul64hi(w, x) + (sum.low < low);
  }
  static __device__ __forceinline__ void finish(Sum sum, const Modulus& m, u64& to)
  {
    const u64 multiple = sum.low * m.inverse;
    // low + multiple * p is a multiple of 2^64: it carries one unless low is zero.
    u64 rest = sum.high + __umul64hi(multiple, m.p) + (sum.low != 0);
    // Sixteen terms that were never settled leave it below 3 p.
    if (rest >= 2 * m.p) rest -= 2 * m.p;
    to = rest >= m.p ? rest - m.p : rest;
  }
};

struct ThreeWords { u64 low, middle; u32 high; };

// p = 2^64 - 2^32 + 1: products are added in three words and reduced once, by
// 2^64 = 2^32 - 1, 2^96 = -1 and 2^128 = -2^32 modulo p.
struct Goldilocks {
  typedef u64 Weight;
  typedef ThreeWords Sum;
  static __device__ __forceinline__ bool nonzero(Weight w) { return w != 0; }
  static __device__ __forceinline__ void settle(Sum&, const Modulus&) {}
  static __device__ __forceinline__ void clear(Sum& sum)
  {
    sum.low = 0;
    sum.middle = 0;
    sum.high = 0;
  }
  static __device__ __forceinline__ u64 taken(u64 x, const Modulus&, bool& outside)
  {
    outside |= x >= 0xffffffff00000001ull;
    return x;
  }
  static __device__ __forceinline__ void add(Sum& sum, Weight w, u64 x)
  {
    u64 low = w * x;
    sum.low += low;
    u64 high = __umul64hi(w, x) + (sum.low < low);  // at most 2^64 - 2 before the carry
    sum.middle += high;
    sum.high += sum.middle < high;
  }
  static __device__ __forceinline__ void finish(Sum sum, const Modulus&, u64& to)
  {
    const u64 p = 0xffffffff00000001ull, epsilon = 0xffffffffull;
    u64 top = sum.middle >> 32, bottom = (sum.middle & epsilon) * epsilon;
    u64 rest = sum.low - top;
    if (sum.low < top) rest -= epsilon;  // 2^64 was borrowed
    u64 total = rest + bottom;
    if (total < bottom) total += epsilon;  // 2^64 was lost
    if (total >= p) total -= p;
    u64 carried = (u64)sum.high << 32;
    to = total >= carried ? total - carried : total + (p - carried);
  }
};
