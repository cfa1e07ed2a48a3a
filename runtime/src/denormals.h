#pragma once

namespace sod2 {

// While one lives, its thread takes denormal floats as zeros and writes zeros for them, as XLA's
// CPU threads do: results agree with JAX's, and no kernel falls into the slow path of denormals.
class FlushDenormals {
public:
  FlushDenormals();
  ~FlushDenormals();
  void pause(); // as before it was made, until `resume`: for code that is not ours
  void resume();
  FlushDenormals(const FlushDenormals &) = delete;
  FlushDenormals &operator=(const FlushDenormals &) = delete;

private:
  unsigned long long saved_ = 0;
};

} // namespace sod2
