//! digest: the hash of standard input, in hexadecimal.
//!
//! Reads in large blocks and keeps nothing, so that the size of the input does
//! not matter. `--check` compares instead of printing.

const std = @import("std");
const Io = std.Io;
const algorithm = @import("algorithm.zig");

/// One host call per block: 64 KiB makes the calls cheap beside the hashing.
const block_bytes = 64 * 1024;

/// In the data segment, as it would take up half of the stack.
var block: [block_bytes]u8 = undefined;

const ExitCode = enum(u8) { ok = 0, differs = 1, usage = 2, io = 3 };

const Request = struct {
    name: algorithm.Name = .default,
    expected: ?[algorithm.digest_bytes]u8 = null,
};

/// Writes a complaint to standard error. One that cannot be delivered has no
/// other place to go; the exit code still tells.
fn complain(io: Io, comptime format: []const u8, arguments: anytype) void {
    var line: [512]u8 = undefined;
    var writer: Io.Writer = .fixed(&line);
    // A longer message is cut, not lost.
    writer.print("digest: " ++ format ++ "\n", arguments) catch {};
    Io.File.stderr().writeStreamingAll(io, writer.buffered()) catch {};
}

fn parseArguments(io: Io, arguments: []const [:0]const u8) error{Usage}!Request {
    var request: Request = .{};
    var i: usize = 1;
    while (i < arguments.len) : (i += 2) {
        const option = arguments[i];
        const wants_name = std.mem.eql(u8, option, "-a");
        if (!wants_name and !std.mem.eql(u8, option, "--check")) {
            complain(io, "unknown option {s}; usage: digest [-a sha3-256|blake3|sha256] [--check HEX]", .{option});
            return error.Usage;
        }
        if (i + 1 == arguments.len) {
            complain(io, "{s} needs a value", .{option});
            return error.Usage;
        }
        const value = arguments[i + 1];
        if (wants_name) {
            request.name = std.meta.stringToEnum(algorithm.Name, value) orelse {
                complain(io, "-a {s}: known are sha3-256, blake3 and sha256", .{value});
                return error.Usage;
            };
        } else {
            request.expected = parseDigest(value) catch {
                complain(io, "--check {s}: not {d} hexadecimal digits", .{ value, 2 * algorithm.digest_bytes });
                return error.Usage;
            };
        }
    }
    return request;
}

fn parseDigest(text: []const u8) ![algorithm.digest_bytes]u8 {
    var digest: [algorithm.digest_bytes]u8 = undefined;
    if (text.len != 2 * digest.len) return error.InvalidLength;
    _ = try std.fmt.hexToBytes(&digest, text);
    return digest;
}

fn hashStandardInput(io: Io, name: algorithm.Name) ![algorithm.digest_bytes]u8 {
    var hasher: algorithm.Hasher = .init(name);
    const input = Io.File.stdin();
    while (true) {
        const count = input.readStreaming(io, &.{&block}) catch |err| switch (err) {
            error.EndOfStream => return hasher.finish(),
            else => return err,
        };
        hasher.update(block[0..count]);
    }
}

fn run(init: std.process.Init) ExitCode {
    const io = init.io;
    const arguments = init.minimal.args.toSlice(init.arena.allocator()) catch {
        complain(io, "no memory for the arguments", .{});
        return .usage;
    };
    const request = parseArguments(io, arguments) catch return .usage;
    const digest = hashStandardInput(io, request.name) catch |err| {
        complain(io, "standard input: {s}", .{@errorName(err)});
        return .io;
    };
    const hex = std.fmt.bytesToHex(digest, .lower);

    if (request.expected) |expected| {
        if (std.mem.eql(u8, &expected, &digest)) return .ok;
        complain(io, "the input's {s} digest is {s}", .{ @tagName(request.name), &hex });
        return .differs;
    }
    Io.File.stdout().writeStreamingAll(io, hex ++ "\n") catch |err| {
        complain(io, "standard output: {s}", .{@errorName(err)});
        return .io;
    };
    return .ok;
}

pub fn main(init: std.process.Init) u8 {
    return @intFromEnum(run(init));
}

test {
    _ = algorithm;
}
