# The runtime of a supernet whose networks are Scala's, at four width ratios.
_base_ = ['./elastic_runtime.py']

subnets = dict(
    _delete_=True, quarter=0.25, half=0.5, three_quarters=0.75, largest=1.0
)
val_cfg = dict(subnets=subnets)
test_cfg = dict(subnets=subnets)
del subnets
