"""Statistics of real day-ahead prices that the synthetic ones imitate; statistics only, no price of any hour.

CAISO SP15 (TH_SP15_GEN-APND), January 2023 to December 2024, printed by
`python benchmarks/calibrate_synthetic_prices.py prices`; what is chosen says so. Outside summer the energy price is
taken to rise with reserve one to one, as few such hours are there to fit. Rows of 12: January to December; of 24:
Pacific hour 0-23.
"""

import numpy as np

SUMMER = (7, 8, 9, 10)  # months with scarce evenings

# fmt: off
# Median energy price without its scarce part, $/MWh: month by hour.
BASE_ENERGY = np.array([
    [93, 89, 88, 88, 93, 101, 109, 104, 86, 73, 65, 63, 60, 59, 61, 79, 109, 113, 113, 104, 104, 105, 102, 98],
    [53, 49, 49, 48, 50, 56, 65, 53, 35, 20, 14, 10, 7, 6, 9, 20, 50, 65, 66, 59, 58, 60, 56, 52],
    [55, 53, 51, 51, 54, 62, 69, 62, 37, 15, 4, -2, -3, -4, -4, 2, 17, 41, 64, 63, 64, 64, 61, 58],
    [46, 44, 44, 44, 47, 54, 57, 37, 4, -7, -10, -13, -15, -16, -15, -13, -7, 15, 54, 62, 62, 58, 53, 50],
    [26, 23, 22, 21, 24, 30, 27, 5, -5, -9, -10, -10, -10, -10, -10, -8, -6, 6, 27, 36, 41, 37, 31, 28],
    [30, 30, 29, 29, 30, 34, 29, 14, 9, 8, 7, 7, 7, 7, 8, 11, 15, 24, 34, 48, 50, 44, 36, 33],
    [44, 42, 42, 41, 42, 44, 42, 35, 31, 30, 30, 30, 31, 31, 35, 36, 36, 34, 30, 57, 61, 58, 54, 48],
    [44, 41, 41, 40, 41, 44, 45, 37, 28, 25, 25, 27, 29, 31, 35, 37, 39, 44, 50, 59, 52, 55, 50, 46],
    [39, 38, 36, 36, 36, 40, 43, 35, 17, 13, 10, 10, 11, 13, 16, 22, 27, 42, 54, 49, 45, 45, 43, 40],
    [50, 48, 47, 46, 47, 50, 55, 51, 29, 16, 15, 14, 16, 16, 17, 21, 34, 55, 60, 51, 54, 57, 54, 51],
    [51, 50, 49, 48, 50, 55, 56, 44, 18, 14, 12, 12, 11, 11, 15, 42, 59, 63, 60, 58, 59, 60, 57, 53],
    [46, 45, 44, 44, 45, 50, 53, 48, 34, 26, 25, 25, 23, 22, 25, 43, 55, 57, 54, 53, 54, 55, 53, 50],
])

# Its deviation within a month (from quartiles), $/MWh: month by hour.
DEVIATION = np.array([
    [19, 19, 19, 20, 21, 25, 32, 28, 15, 18, 19, 22, 25, 24, 21, 20, 20, 23, 24, 23, 22, 25, 20, 19],
    [8, 7, 8, 8, 8, 11, 11, 13, 18, 23, 24, 25, 27, 27, 25, 24, 9, 8, 9, 10, 8, 10, 10, 8],
    [9, 8, 7, 9, 9, 10, 12, 17, 18, 19, 18, 19, 18, 18, 19, 18, 29, 29, 13, 9, 7, 9, 9, 7],
    [6, 6, 6, 6, 6, 9, 13, 17, 15, 10, 10, 11, 11, 10, 12, 13, 13, 15, 8, 8, 6, 6, 5, 5],
    [8, 7, 7, 6, 8, 10, 9, 11, 9, 10, 11, 10, 10, 10, 10, 11, 11, 11, 12, 13, 10, 6, 6, 6],
    [5, 5, 4, 5, 4, 5, 7, 9, 13, 12, 12, 14, 15, 15, 17, 17, 16, 12, 9, 8, 11, 10, 5, 5],
    [10, 8, 7, 6, 7, 6, 8, 7, 7, 7, 8, 9, 8, 9, 11, 14, 14, 15, 34, 18, 18, 10, 10, 9],
    [5, 5, 4, 4, 5, 4, 5, 5, 8, 9, 9, 8, 9, 9, 10, 8, 8, 10, 12, 13, 9, 8, 7, 5],
    [4, 4, 4, 4, 3, 4, 5, 4, 9, 9, 11, 12, 12, 12, 13, 17, 15, 7, 13, 8, 6, 7, 6, 5],
    [6, 6, 6, 6, 5, 7, 9, 7, 9, 9, 9, 10, 10, 11, 12, 14, 11, 9, 12, 14, 8, 7, 7, 6],
    [6, 7, 7, 6, 7, 8, 9, 14, 17, 10, 11, 10, 8, 9, 10, 12, 10, 10, 8, 10, 9, 8, 6, 6],
    [7, 6, 7, 6, 6, 9, 10, 7, 9, 11, 12, 12, 11, 11, 12, 10, 10, 9, 9, 9, 8, 8, 8, 7],
])

# The year's median less that of both years, $/MWh.
YEAR_LEVEL = {
    2023: np.array([37.5, 9.9, 20.2, 13.8, -0.4, 0.4, 6.1, 8.6, 3.1, 7.2, 8.2, 3.1]),
    2024: np.array([-37.5, -9.9, -20.2, -13.8, 0.4, -0.4, -6.1, -8.6, -3.1, -7.2, -8.2, -3.1]),
}

# $ of reserve price in the hour per $ of the day's highest: rest of the year, summer.
PEAK_TO_RESERVE = np.array([
    [0.016, 0.036, 0.03, 0.021, 0.032, 0.041, 0.194, 0.147, 0.052, 0.021, 0.025, 0.014,
     0.018, 0.023, 0.014, 0.047, 0.112, 0.181, 0.279, 0.869, 0.617, 0.229, 0.056, 0.048],
    [0.002, 0.001, 0.001, 0, 0, 0, 0.003, 0.002, 0.001, 0, 0.001, 0.001,
     0.003, 0.006, 0.012, 0.052, 0.096, 0.315, 0.724, 0.965, 0.405, 0.124, 0.03, 0.005],
])

# $ of energy price in the hour per $ of the day's highest reserve price: rest of the year, summer.
PEAK_TO_ENERGY = np.array([
    [0.016, 0.036, 0.03, 0.021, 0.032, 0.041, 0.194, 0.147, 0.052, 0.021, 0.025, 0.014,
     0.018, 0.023, 0.014, 0.047, 0.112, 0.181, 0.279, 0.869, 0.617, 0.229, 0.056, 0.048],
    [0.049, 0.042, 0.036, 0.036, 0.036, 0.037, 0.056, 0.045, 0.055, 0.059, 0.063, 0.07,
     0.081, 0.1, 0.12, 0.163, 0.222, 0.424, 0.866, 1.086, 0.514, 0.215, 0.083, 0.07],
])

# Mean log of the day's highest reserve price, $/MW for an hour.
LOG_PEAK = np.array([2.08, 2.02, 1.97, 2.29, 2.14, 1.51, 3.88, 3.08, 1.94, 2.34, 1.21, 0.7])

# The year's mean less that of both years.
LOG_PEAK_YEAR = {
    2023: np.array([1.04, 0.87, 1.03, 0.72, 0.54, 0.42, 0.08, 0.59, -0.17, 0.43, 0.15, -0.19]),
    2024: np.array([-1.04, -0.87, -1.03, -0.72, -0.54, -0.42, -0.08, -0.59, 0.17, -0.43, -0.15, 0.19]),
}

# Its deviation within a month.
LOG_PEAK_DEVIATION = np.array([0.6, 0.58, 0.64, 0.66, 0.5, 0.66, 1.33, 1.49, 1.29, 1.49, 0.67, 0.46])

# Median reserve prices in hours below a quarter of the day's highest, $/MW for an hour: spin, nonspin.
QUIET_SPIN = np.array([0.74, 1, 1, 0.97, 0.9, 0.49, 1, 1, 0.73, 0.59, 0.5, 0.5])
QUIET_NONSPIN = np.array([0.35, 0.3, 1, 0.7, 0.45, 0.3, 0.45, 0.45, 0.45, 0.35, 0.35, 0.35])

# Nonspin over spin where spin is above 10; December, which has no such hour, has the mean outside summer.
NONSPIN_SHARE = np.array([0.06, 0.04, 0.35, 0.27, 0.19, 0.22, 0.97, 0.97, 0.97, 0.89, 1, 0.3])
# fmt: on

LEVEL_SHARE, SINE_SHARE, COSINE_SHARE = (
    0.65,
    0.14,
    0.07,
)  # first eigenvalues of the hours' correlation; the rest is noise
LEVEL_CARRY, PEAK_CARRY = 0.61, 0.44  # correlation from one day to the next
HEAT = 0.26  # correlation of the day's peak with its level
QUIET_NOISE = 0.65  # log deviation of quiet spin within a month
RESERVE_FLOOR_USD_PER_MW_H = 0.11  # the lowest in the data
PEAK_LIMIT_USD_PER_MW_H = (
    1_500.0  # chosen: keeps energy below CAISO's hard cap of 2,000 $/MWh; highest in the data 1,012
)
