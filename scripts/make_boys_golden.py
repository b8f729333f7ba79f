#!/usr/bin/env python3
"""tests/golden/boys.txt: F_m(T), m = 0..10, to 25 digits, in decimal arithmetic with 60 digits.

T <= 100: exp(-T) sum_k (2T)^k / ((2m+1)(2m+3)...(2m+2k+1)), all terms positive. Above: (2m-1)!!/2^(m+1) sqrt(pi/T^(2m+1)), whose
relative error is exp(-T) times a power, less than 1e-30."""
from decimal import Decimal as D, getcontext

getcontext().prec = 60
PI = D("3.14159265358979323846264338327950288419716939937510582097494")
T = [0.0, 1e-12, 1e-5, 0.03125, 0.031250001, 0.0624999, 0.1, 0.5, 1.0, 1.03125, 2.5, 3.1415926, 5.0, 7.77, 10.0, 12.34375, 15.0,
     18.6, 22.222, 25.0, 28.125, 30.0, 33.3, 35.99, 36.0, 36.001, 38.49, 38.5, 40.0, 41.0, 43.4999, 45.0, 46.0, 48.5, 51.0, 53.49,
     55.99, 56.0, 58.4, 58.5, 60.9, 61.0, 61.1, 80.0, 123.456, 1000.0, 1e5, 1e8]


def boys(m, t):
    x = D(t)  # exact value of the double
    if t > 100:
        v = (PI / x).sqrt() / 2
        for k in range(m):
            v = v * (2 * k + 1) / (2 * x)
        return v
    term = s = D(1) / (2 * m + 1)
    k = 1
    while term > s * D("1e-58"):
        term = term * 2 * x / (2 * m + 2 * k + 1)
        s += term
        k += 1
    return (-x).exp() * s


with open("tests/golden/boys.txt", "w") as f:
    for t in T:
        f.write("%r %s\n" % (t, " ".join(format(boys(m, t), ".24E") for m in range(11))))
