/// What of Boost.Asio is no template, compiled here once (BOOST_ASIO_SEPARATE_COMPILATION); that of its TLS wrapper is
/// in vm/image/http.cpp, its only user.
#include <boost/asio/impl/src.hpp>
