//! The digests this program knows, behind one streaming interface.

const std = @import("std");
const crypto = std.crypto;

/// All three give 256 bits, so that every digest here is 64 hex digits.
pub const digest_bytes = 32;

pub const Name = enum {
    @"sha3-256",
    blake3,
    sha256,

    /// The digest of SentientOS's own records (manifests, chain records).
    pub const default: Name = .@"sha3-256";
};

/// One hash in progress. A tagged union rather than a pointer to an interface:
/// the choice is made once, and each `update` is a direct call.
pub const Hasher = union(Name) {
    @"sha3-256": crypto.hash.sha3.Sha3_256,
    blake3: crypto.hash.Blake3,
    sha256: crypto.hash.sha2.Sha256,

    pub fn init(name: Name) Hasher {
        return switch (name) {
            .@"sha3-256" => .{ .@"sha3-256" = .init(.{}) },
            .blake3 => .{ .blake3 = .init(.{}) },
            .sha256 => .{ .sha256 = .init(.{}) },
        };
    }

    pub fn update(hasher: *Hasher, bytes: []const u8) void {
        switch (hasher.*) {
            inline else => |*inner| inner.update(bytes),
        }
    }

    pub fn finish(hasher: *Hasher) [digest_bytes]u8 {
        var digest: [digest_bytes]u8 = undefined;
        switch (hasher.*) {
            inline else => |*inner| inner.final(&digest),
        }
        return digest;
    }
};

fn expectDigest(name: Name, input: []const u8, hex: []const u8) !void {
    var hasher: Hasher = .init(name);
    // In two pieces, as input from a pipe comes.
    hasher.update(input[0 .. input.len / 3]);
    hasher.update(input[input.len / 3 ..]);
    try std.testing.expectEqualStrings(hex, &std.fmt.bytesToHex(hasher.finish(), .lower));
}

test "the published test vectors hold" {
    // FIPS 202 and FIPS 180-4 examples ("abc"), and the BLAKE3 reference's empty input.
    try expectDigest(.@"sha3-256", "abc", "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532");
    try expectDigest(.sha256, "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    try expectDigest(.blake3, "", "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
}
