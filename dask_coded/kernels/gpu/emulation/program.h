// Included after a kernel: a program that runs it on a job read from a file, for the sanitizers.
// Each buffer is an allocation of its own and of its exact size, so one byte too far is seen.
template <typename T> T read_one(FILE* file)
{
  T value;
  if (fread(&value, sizeof value, 1, file) != 1) std::abort();
  return value;
}
inline std::unique_ptr<char[]> read_many(FILE* file, uint64_t bytes)
{
  std::unique_ptr<char[]> data(new char[bytes]);
  if (bytes && fread(data.get(), 1, bytes, file) != bytes) std::abort();
  return data;
}

int main(int, char** names)
{
  FILE* job = fopen(names[1], "rb");
  const unsigned grid = read_one<uint32_t>(job), block = read_one<uint32_t>(job);
  const bool threads = read_one<uint32_t>(job);
  const uint64_t argument_bytes = read_one<uint64_t>(job);
  if (argument_bytes != sizeof(Arguments)) std::abort();
  const std::unique_ptr<char[]> given = read_many(job, argument_bytes);
  std::vector<std::unique_ptr<char[]>> buffers;
  std::vector<uint64_t> sizes;
  for (uint64_t count = read_one<uint64_t>(job); count; --count) {
    sizes.push_back(read_one<uint64_t>(job));
    buffers.push_back(read_many(job, sizes.back()));
  }
  // A pointer lies in the arguments (buffer 0) or in buffer n - 1, and points into another buffer.
  for (uint64_t count = read_one<uint64_t>(job); count; --count) {
    const uint64_t where = read_one<uint64_t>(job), at = read_one<uint64_t>(job);
    const uint64_t buffer = read_one<uint64_t>(job), offset = read_one<uint64_t>(job);
    const char* pointer = buffers[buffer].get() + offset;
    memcpy((where ? buffers[where - 1].get() : given.get()) + at, &pointer, sizeof pointer);
  }
  fclose(job);
  Arguments arguments;
  memcpy(&arguments, given.get(), sizeof arguments);
  emulate(grid, block, threads, [&] { KERNEL(arguments); });
  FILE* results = fopen(names[2], "wb");
  for (size_t n = 0; n < buffers.size(); ++n)
    if (sizes[n] && fwrite(buffers[n].get(), 1, sizes[n], results) != sizes[n]) std::abort();
  fclose(results);
  return 0;
}
