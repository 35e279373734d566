// For Zig 0.16 and later.
const std = @import("std");

pub fn main(init: std.process.Init) !void {
    var buffer: [1024]u8 = undefined;
    var stdout = std.Io.File.stdout().writer(init.io, &buffer);
    const out = &stdout.interface;

    try out.writeAll("Hello from {name}!\n");
    const args = try init.minimal.args.toSlice(init.arena.allocator());
    for (args[1..], 1..) |arg, number| {
        try out.print("argument {d}: {s}\n", .{ number, arg });
    }
    try out.flush();
}
