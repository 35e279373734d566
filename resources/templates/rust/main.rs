fn main() {
    println!("Hello from {name}!");
    for (number, arg) in std::env::args().enumerate().skip(1) {
        println!("argument {number}: {arg}");
    }
}
