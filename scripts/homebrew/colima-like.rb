# Homebrew formula: brew install --HEAD ./scripts/homebrew/colima-like.rb from a clone, whose commits are what is built.
# It names no home page and no release: there is none yet.
class ColimaLike < Formula
  desc "Docker in a Linux machine of its own, with one command"
  license "Apache-2.0"
  head "file://#{File.expand_path("../..", __dir__)}", using: :git, branch: "main"

  depends_on "cli11" => :build
  depends_on "cmake" => :build
  depends_on "ninja" => :build
  depends_on "pkgconf" => :build
  depends_on "boost"
  depends_on "docker"
  depends_on "fmt"
  depends_on "libssh2"
  depends_on "openssl@3"
  depends_on "qemu"
  depends_on "spdlog"
  depends_on "yaml-cpp"

  on_macos do
    depends_on "vfkit"
  end

  def install
    system "cmake", "-S", ".", "-B", "build", "-G", "Ninja", "-DCOLIMA_LIKE_TESTS=OFF", *std_cmake_args
    system "cmake", "--build", "build"
    system "cmake", "--install", "build"
  end

  test do
    ENV["COLIMA_LIKE_HOME"] = testpath/"home"
    assert_match "colima-like", shell_output("#{bin}/colima-like version")
    assert_equal "[]", shell_output("#{bin}/colima-like list --json").strip
  end
end
