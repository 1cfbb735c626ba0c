#!/opt/missing/python3 -u
print(1)
