#pragma once

#include <boost/asio/ip/address.hpp>

namespace cl {

/// Whether it is an address of this computer, or of a network that one of its interfaces is in. As things are now; true
/// when the system does not tell.
bool is_own_address(const boost::asio::ip::address& address);

}  // namespace cl
